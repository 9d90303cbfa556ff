// Package faulttest holds tests that run whole ledgers on hosts that do their worst: they end processes
// and machines at any point, lose what disks were told to keep safe only later, run out of space, cut
// connections, set clocks wrong, and drop, repeat, reorder, delay and forge what goes to the log.
// Whatever a host does, no command that was acknowledged is lost or comes into effect twice, all
// executors agree, and where the log itself lies they halt and say so.
//
//	go test ./internal/ledger/faulttest -run TestSchedules -schedules 100
//	go test ./internal/ledger/faulttest -run TestSchedules -seed 7 -v
package faulttest
