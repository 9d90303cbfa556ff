package convert

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func sampleImage(t testing.TB) v1.Image {
	return imageOf(t, v1.Config{Cmd: []string{"/bin/app"}, Env: []string{"PATH=/bin", "A=1"}, User: "app", WorkingDir: "/srv", Volumes: map[string]struct{}{"/data": {}}},
		layerOf(t, "gzip", tarOf(t, dir("bin"), ent{name: "bin/app", body: "#!program", mode: 0o755}, dir("etc"),
			file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:100:101::/home/app:\n"), file("etc/group", "app:x:101:\nlog:x:5:app\n"),
			ent{name: "tmp", typ: '5', mode: 0o1777}, ent{name: "run", typ: '5'}, dir("var"), symlink("var/run", "/run"))),
		layerOf(t, "zstd", tarOf(t, file("srv/page", "hello"), file("tmp/x", "x"))),
	)
}

func TestConvert(t *testing.T) {
	t.Parallel()
	q := request(t, save(t, sampleImage(t)))
	q.Options.Name = "app.example.com"
	res, err := Convert(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", res)
}
