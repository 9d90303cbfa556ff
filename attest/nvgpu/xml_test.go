package nvgpu

import (
	"fmt"
	"strings"
	"testing"
)

// TestCanonical has documents and their canonical forms, after Canonical XML 1.1, section 3.
func TestCanonical(t *testing.T) {
	t.Parallel()
	for _, tc := range [][2]string{
		{"<a/>", "<a></a>"},
		{"<a  ></a \n>", "<a></a>"},
		{"\n<a> b\r\nc\rd </a>\n", "<a> b\nc\nd </a>"},
		{`<a z='1' b = "2" a=">"/>`, `<a a=">" b="2" z="1"></a>`},
		{`<a xmlns:b="urn:b" xmlns="urn:a" xmlns:a="urn:c"/>`, `<a xmlns="urn:a" xmlns:a="urn:c" xmlns:b="urn:b"></a>`},
		{`<a xmlns="urn:a"><b xmlns="urn:a"><c xmlns=""><d xmlns=""/></c></b></a>`, `<a xmlns="urn:a"><b><c xmlns=""><d></d></c></b></a>`},
		{`<a xmlns=""><b xmlns="urn:b"/></a>`, `<a><b xmlns="urn:b"></b></a>`},
		{`<x:a xmlns:x="urn:1"><x:b xmlns:x="urn:2"><x:c xmlns:x="urn:1"/></x:b></x:a>`, `<x:a xmlns:x="urn:1"><x:b xmlns:x="urn:2"><x:c xmlns:x="urn:1"></x:c></x:b></x:a>`},
		{`<a xmlns:p="urn:z" xmlns:q="urn:b" p:a="1" q:b="2" c="3" q:a="4"/>`, `<a xmlns:p="urn:z" xmlns:q="urn:b" c="3" q:a="4" q:b="2" p:a="1"></a>`},
		{`<?xml version="1.0"?><a>é</a>`, "<a>é</a>"},
	} {
		e, err := parseXML([]byte(tc[0]))
		if err != nil {
			t.Errorf("%s: %v", tc[0], err)
			continue
		}
		if got := string(canonical(e, nil)); got != tc[1] {
			t.Errorf("%s:\n got %s\nwant %s", tc[0], got, tc[1])
		}
		again, err := parseXML(canonical(e, nil))
		if err != nil || string(canonical(again, nil)) != tc[1] {
			t.Errorf("%s: not stable: %v", tc[0], err)
		}
	}
	doc, err := parseXML([]byte(`<a xmlns="urn:a" xmlns:b="urn:b"><b:c xmlns:d="urn:d" xmlns:b="urn:e"><e/></b:c><f/></a>`))
	if err != nil {
		t.Fatal(err)
	}
	c := doc.children[0].elem
	if got, want := string(canonical(c, nil)), `<b:c xmlns="urn:a" xmlns:b="urn:e" xmlns:d="urn:d"><e></e></b:c>`; got != want {
		t.Errorf("a part:\n got %s\nwant %s", got, want)
	}
	if got, want := string(canonical(doc, c)), `<a xmlns="urn:a" xmlns:b="urn:b"><f></f></a>`; got != want {
		t.Errorf("without a part:\n got %s\nwant %s", got, want)
	}
}

func TestXMLRefusals(t *testing.T) {
	t.Parallel()
	var wide strings.Builder
	for i := range maxAttributes + 1 {
		fmt.Fprintf(&wide, ` a%d=""`, i)
	}
	for _, doc := range []string{
		"", " ", "a", "<", "<a", "<a>", "<a/", "<a></b>", "<a></a", "<a></a:a>", "<a/>b", "<a/><b/>", "<a><b></a></b>", "</a>", "<1a/>", "<:a/>", "<a:/>", "<a:b:c/>", "<-/>", "<é/>",
		"<" + strings.Repeat("a", 200) + "/>", `<a b/>`, `<a b=c/>`, `<a b="c/>`, `<a b="1"c="2"/>`, `<a b="1" b="2"/>`, `<a b="<"/>`, `<a b="&lt;"/>`, "<a b=\"\t\"/>", "<a b='\"'/>",
		`<a xmlns:p="urn:1" xmlns:q="urn:1" p:b="" q:b=""/>`, `<p:a/>`, `<a p:b=""/>`, `<a xml:lang="en"/>`, `<xmlns:a/>`, `<a xmlns:xml="urn:a"/>`, `<a xmlns:p=""/>`, `<a xmlns="a" xmlns="b"/>`, `<a xmlns:xmlns="a"/>`,
		`<xml:a/>`, `<a>&amp;</a>`, `<a>&#65;</a>`, `<a>></a>`, `<a><!-- --></a>`, `<!-- --><a/>`, `<a><![CDATA[a]]></a>`, `<a><?b?></a>`, `<?b?><a/>`, `<!DOCTYPE a><a/>`,
		`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, `<?xml version="1.0" encoding="utf-16"?><a/>`, `<?xml version="1.0"`, "<a>\x00</a>", "<a>\xff</a>", "\ufeff<a/>", "<a>\ufffe</a>",
		strings.Repeat("<a>", maxXMLDepth+1) + strings.Repeat("</a>", maxXMLDepth+1), "<a>" + strings.Repeat("<b/>", maxXMLNodes) + "</a>", "<a" + wide.String() + "/>",
		"<a>" + strings.Repeat(`<b c="" d="" e="" f=""/>`, maxXMLAttrs/4+1) + "</a>", "<a>" + strings.Repeat(" ", MaxRIM) + "</a>",
	} {
		if _, err := parseXML([]byte(doc)); err == nil {
			t.Errorf("%.80q was read", doc)
		}
	}
}
