package ledger

// Codes that a node gives beside those of the machine.
const (
	CodeBusy     uint16 = 100 // the node holds as much as it may; try again
	CodeBehind   uint16 = 101 // the node has not committed what the client has already seen
	CodeForked   uint16 = 102 // the client has seen another history than this node's
	CodeNotFresh uint16 = 103 // no majority vouched for how far the ledger is
	CodeReplayed uint16 = 104 // the query's id was used before
)

var nodeWords = [...]string{"busy", "behind", "forked", "not_fresh", "replayed"}

// Admits says whether an application is here and takes accounts of a scheme; Code is CodeOK when so.
func (m *Machine) Admits(app string, scheme uint8, account AccountID) Outcome {
	return admit(m.apps[app], app, scheme, account)
}
