package ledger

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Codes of an [Outcome]. They do not change their meaning. Malformed, WrongLedger and BadSignature are
// given by who reads and verifies commands before the machine sees them; codes from 100 on are the node's.
const (
	CodeOK                 uint16 = 0
	CodeMalformed          uint16 = 1  // not a command at all
	CodeWrongLedger        uint16 = 2  // names another ledger
	CodeBadSignature       uint16 = 3  // the signature does not hold
	CodeUnknownApplication uint16 = 4  // no such application here
	CodePolicyRefused      uint16 = 5  // the application does not admit the scheme
	CodeExpired            uint16 = 6  // came to be ordered after expires_at
	CodeNonceUsed          uint16 = 7  // the nonce was used, or lies below the window
	CodeNonceGap           uint16 = 8  // the nonce is too far above the last one
	CodeUnknownCommand     uint16 = 9  // the application has no command of that name
	CodeBadArguments       uint16 = 10 // the arguments do not decode
	CodeRefused            uint16 = 11 // a condition of the application does not hold; Message begins with its word
	CodeOverflow           uint16 = 12 // arithmetic left the range of its type
	CodePanicked           uint16 = 13 // the application's code failed
	CodeLimit              uint16 = 14 // more reads, writes or notifications than one command may make
	CodeTooLarge           uint16 = 15 // arguments or result above their limit
	CodeUnknownQuery       uint16 = 16 // the application has no query of that name
)

var codeWords = [...]string{
	"ok", "malformed", "wrong_ledger", "bad_signature", "unknown_application", "policy_refused", "expired",
	"nonce_used", "nonce_gap", "unknown_command", "bad_arguments", "refused", "overflow", "panicked", "limit",
	"too_large", "unknown_query",
}

// CodeWord is the word for a code of this package, and "code_N" for another.
func CodeWord(code uint16) string {
	if int(code) < len(codeWords) {
		return codeWords[code]
	}
	if i := int(code) - int(CodeBusy); i >= 0 && i < len(nodeWords) {
		return nodeWords[i]
	}
	return fmt.Sprintf("code_%d", code)
}

// MaxMessage is the longest Message of an outcome, in bytes; what is longer is cut.
const MaxMessage = 256

// Outcome is what became of a command or a query. It is the same on every node.
type Outcome struct {
	Code    uint16
	Message string  // empty when Code is CodeOK
	Result  []byte  // JSON, or nil
	Events  []Event // none when Code is not CodeOK
}

// Event is a notification for an account: Payload is JSON.
type Event struct {
	Account AccountID
	Payload []byte
}

// OK says whether the command happened.
func (o Outcome) OK() bool { return o.Code == CodeOK }

// Err is nil when the command happened, and else the code's word and the message.
func (o Outcome) Err() error {
	if o.OK() {
		return nil
	}
	return fmt.Errorf("ledger: %s: %s", CodeWord(o.Code), o.Message)
}

func refused(code uint16, format string, args ...any) Outcome {
	return Outcome{Code: code, Message: cut(fmt.Sprintf(format, args...))}
}

// cut makes valid UTF-8 of at most MaxMessage bytes.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxMessage {
		return s
	}
	n := MaxMessage
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
