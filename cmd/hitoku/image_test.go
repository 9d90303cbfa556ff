package main

import "testing"

func TestSplitTag(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ ref, name, tag string }{
		{"web", "web", "latest"},
		{"web:1", "web", "1"},
		{"127.0.0.1:5000/web", "127.0.0.1:5000/web", "latest"},
		{"127.0.0.1:5000/web:1", "127.0.0.1:5000/web", "1"},
		{"docker-daemon:web", "docker-daemon:web", "latest"},
		{"docker-daemon:web:2", "docker-daemon:web", "2"},
		{"oci:./dir/web:3", "oci:./dir/web", "3"},
		{"oci:web", "oci:web", "latest"},
	} {
		if name, tag := splitTag(tc.ref); name != tc.name || tag != tc.tag {
			t.Errorf("%s: %q and %q, wanted %q and %q", tc.ref, name, tag, tc.name, tc.tag)
		}
	}
}
