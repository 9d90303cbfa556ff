package eventlog_test

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"hitoku.dev/attest"
	"hitoku.dev/attest/eventlog"
)

// Judge a log beside a TDX quote that was verified: the rule event_log_replay joins
// the quote's rules, and facts its claims.
func ExampleAppendTDX() {
	// One event in RTMR0: the separator with which firmware ends.
	digest := sha512.Sum384(make([]byte, 4))
	log, err := json.Marshal([]map[string]any{{"imr": 0, "event_type": 4, "digest": hex.EncodeToString(digest[:]), "event": "", "event_payload": "00000000"}})
	if err != nil {
		panic(err)
	}
	rtmr0 := sha512.Sum384(append(make([]byte, 48), digest[:]...))
	zero := hex.EncodeToString(make([]byte, 48))
	result := &attest.Result{Claims: attest.Claims{ // as dcap.Verify returns it
		TEE: attest.TDX, Measurements: map[string]string{"rtmr0": hex.EncodeToString(rtmr0[:]), "rtmr1": zero, "rtmr2": zero, "rtmr3": zero},
	}}

	l, err := eventlog.Parse(log)
	eventlog.AppendTDX(result, l, err)
	fmt.Println(result.Rules[0].Name, result.Rules[0].OK, result.Rules[0].Seen)

	result.Claims.Measurements["rtmr0"] = zero
	eventlog.AppendTDX(result, l, err)
	fmt.Println(result.Rules[1].Name, result.Rules[1].OK)
	// Output:
	// event_log_replay true dstack replays to RTMR0 (sha384)
	// event_log_replay false
}
