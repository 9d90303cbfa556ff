package cmw_test

import (
	"fmt"

	"hitoku.dev/attest/cmw"
)

// One collection carries evidence and what endorses it.
func ExampleMessage_JSON() {
	m := &cmw.Message{Collection: &cmw.Collection{
		Type: "tag:example.com,2026:vm",
		Items: []cmw.Item{
			{Label: cmw.Label{Text: "evidence"}, Message: cmw.Message{Record: &cmw.Record{Type: "application/vnd.amd.sev-snp", Value: []byte{2, 0, 0, 0}, Indicator: cmw.Evidence}}},
			{Label: cmw.Label{Text: "vcek"}, Message: cmw.Message{Record: &cmw.Record{Type: "application/pkix-cert", Value: []byte{0x30}, Indicator: cmw.Endorsements}}},
		},
	}}
	text, err := m.JSON()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(text))
	// Output: {"__cmwc_t":"tag:example.com,2026:vm","evidence":["application/vnd.amd.sev-snp","AgAAAA",4],"vcek":["application/pkix-cert","MA",2]}
}
