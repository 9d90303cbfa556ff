// Package cmw reads and writes the conceptual message wrapper of RFC 9999: a
// label on evidence (or on endorsements, or on results) that says what it is, in
// JSON, in CBOR, and as an X.509 extension.
//
// A [Message] is a record, which is one labelled value, or a collection of
// messages under labels. What a value means is for the reader of its type; this
// package never looks inside.
//
// Input is hostile. Sizes, nesting and numbers of items are limited before
// anything is allocated for them. A CBOR text has one valid encoding, the
// deterministic one (RFC 8949, section 4.2.1). A JSON text may differ from what
// [Message.JSON] writes in white space, escapes and the order of members, and in
// nothing else: no repeated member, no padding, no second form of a value. Inside
// a certificate there is no such freedom.
//
// A wrapper protects nothing. It is not signed (the signed forms of RFC 9999 are
// refused), and labels are only as good as what carries them: evidence must be
// verified by itself, and several pieces in one collection must be bound to each
// other by what they sign.
package cmw
