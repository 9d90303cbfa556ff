package convert

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/internal/image/imagetest"
)

func sampleSpec() imagetest.Spec {
	return imagetest.Spec{OCI: true,
		Config: v1.Config{
			Cmd: []string{"/bin/app"}, Env: []string{"PATH=/bin", "A=1"}, User: "app", WorkingDir: "/srv",
			Volumes: map[string]struct{}{"/data": {}},
		},
		Layers: []imagetest.LayerSpec{{Entries: []imagetest.Entry{
			imagetest.Dir("bin"), imagetest.Program("bin/app", "#!program"), imagetest.Dir("etc"),
			imagetest.File("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:100:101::/home/app:\n"),
			imagetest.File("etc/group", "app:x:101:\nlog:x:5:app\n"),
			{Name: "tmp", Type: '5', Mode: 0o1777}, imagetest.Dir("run"), imagetest.Dir("var"), imagetest.Symlink("var/run", "/run"),
		}}, {Compression: imagetest.Zstd, Entries: []imagetest.Entry{imagetest.File("srv/page", "hello"), imagetest.File("tmp/x", "x")}}},
	}
}

func TestConvert(t *testing.T) {
	t.Parallel()
	q := request(t, save(t, imagetest.New(t, sampleSpec())))
	q.Options.Name = "app.example.com"
	res, err := Convert(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", res)
	x, err := Measure(t.Context(), q.Output, q.InputOptions)
	if err != nil {
		t.Fatal(err)
	}
	if x.Err() != nil {
		t.Error(x.Err())
	}
}
