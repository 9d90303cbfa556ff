// Package eventlog reads the logs that say what was extended into measurement
// registers: the TCG log of a PC client (crypto-agile and SHA-1), the CC event
// log of a TDX machine, dstack's JSON log and Linux's IMA list. It replays them
// and, once the replay equals registers that hardware has signed, states facts.
//
// A log is written by the machine that is judged. What a register covers is the
// sequence of digests extended into it, and nothing else: not the type of an
// event, not its description, not its data, not the order of events in different
// registers. So a fact comes from an event only when its data has the digest
// that was extended, or when the digest itself is a known one; the type of an
// event decides nothing. An event that could be hidden by calling it something
// else makes a fact impossible, not wrong.
//
// Invariants: there are no facts without registers ([Log.Facts] takes them), none
// from a register that does not replay, and none from a SHA-1 bank. Parsing
// copies no binary log and stops at fixed limits.
//
// It trusts the registers given to it: they must come from a verified quote. It
// does not promise that software which ran later measured honestly: a register
// from 8 upwards is worth what the boot loader named in boot_digests is worth.
package eventlog
