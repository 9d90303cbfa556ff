package store

import (
	"bytes"
	"testing"
)

// TestRowCodesKeepColumnsApart moves bytes from one column to the next (docs/findings.md, 554).
// Who may write to the database could otherwise make another row of one that the manager wrote.
func TestRowCodesKeepColumnsApart(t *testing.T) {
	t.Parallel()
	var codes [][]byte
	for _, row := range [][4]string{{"a", "name", "value", "x"}, {"a", "name", "valuex", ""}, {"a", "namev", "alue", "x"}, {"an", "ame", "value", "x"}, {"a", "name", "value", "x\x00"}} {
		code, err := rowMAC([]byte("key"), table{kind: row[0]}, 1, []field{text(row[1], &row[2]), text("other", &row[3])})
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range codes {
			if bytes.Equal(c, code) {
				t.Errorf("%q has the code of row %d", row, i)
			}
		}
		codes = append(codes, code)
	}
}
