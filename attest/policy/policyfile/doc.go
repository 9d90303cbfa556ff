// Package policyfile reads and writes policies as files: YAML, of which JSON is a
// part. A policy in a file is closed: what it does not name is refused.
//
//	version: 1
//	tees: [tdx]
//	registers:
//	  mrtd: 91eb2b44…        # one value, or a list of which any will do
//	  rtmr0: [5aab…, 77d0…]
//	tcb:
//	  statuses: [UpToDate]
//	  min_evaluation: 17
//	facts: {secure_boot: enabled}
//	gpus: {min: 1}
//
// docs/attestation.md has every member. [Parse] is strict: members that it does
// not know, members that stand there twice, wrong types, anchors, tags and a
// second document are refused, with the line. A misspelt member must not be an
// open door.
//
// It lives beside attest/policy so that programs inside a TEE, which import the
// latter, need no YAML. It trusts the file: whoever can write it decides.
package policyfile
