package main

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"hitoku.dev/internal/gramine/gramtest"
	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
)

// TestMain lets the test binary be the hitoku command inside scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hitoku": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(run(ctx, os.Args[1:]))
	}})
}

// TestScripts runs the sessions in testdata/script. Beside testscript's own
// commands they have
//
//	mkimage REF [FILE=CONTENT…]  write a small image
//	mkguest FILE                 write a file that passes for a guest program
//	registry NAME                start a registry and set $NAME to its address
//	envsub FILE                  replace ${NAME} in a file
//	manager                      start a manager and set $MANAGER, $PIN, $CODE and $CA
//	json [FILE] [NAME=PATH…]     the last output, or a file, is one JSON value; set $NAME to what PATH (a.0.b) finds in it
//	json [FILE] [PATH==VALUE…]   … and PATH finds VALUE; "len" is the length of a list
//	exits CODE COMMAND…          run a command that ends with this exit code
//	await FILE                   wait until a file is there
//	makers [fail…]               start a made-up Intel and AMD; see startMakers
//	install DIR                  put hitoku into a folder
//	ledger                       start a ledger and set $LEDGER, $NODE1 to $NODE3 and $ROOT
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Setenv("XDG_CACHE_HOME", filepath.Join(home, "cache"))
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
			for _, name := range []string{"HITOKU_SESSION", "HITOKU_MANAGER", "HITOKU_TOKEN", "HITOKU_PIN", "HITOKU_CA", "HITOKU_LEDGER", "HITOKU_WALLET"} {
				e.Setenv(name, "")
			}
			e.Setenv("DOCKER_CONFIG", filepath.Join(home, "docker"))
			return os.Mkdir(home, 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"mkimage": makeImage, "mkguest": makeGuest, "mkgramine": makeGramine, "manager": startManager, "json": readJSON, "exits": exits, "await": await, "install": install,
			"makers": startMakers(t), "ledger": startLedger(t),
			"envsub": func(ts *testscript.TestScript, _ bool, args []string) {
				text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
			},
			"registry": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[0], imagetest.NewRegistry(t, imagetest.RegistryOptions{}).Host())
			},
		},
	})
}

// makeGramine DIR VERSION makes a root file system with what looks like a release of Gramine.
func makeGramine(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(gramtest.Root(args[1]).Put(ts.MkAbs(args[0])))
}

func makeImage(ts *testscript.TestScript, _ bool, args []string) {
	files := []imagetest.Entry{
		imagetest.Dir("bin"), imagetest.Program("bin/app", "#!app"), imagetest.Dir("etc"),
		imagetest.File("etc/passwd", "root:x:0:0::/root:/bin/sh\n"), imagetest.Dir("run"),
	}
	img, err := imagetest.Build(imagetest.Spec{OCI: true, Config: v1.Config{Cmd: []string{"/bin/app"}}, Layers: []imagetest.LayerSpec{{Entries: files}}})
	ts.Check(err)
	text := args[0]
	if dir, ok := cutScheme(text); ok {
		text = "oci:" + ts.MkAbs(dir)
	}
	ref, err := image.Parse(text)
	ts.Check(err)
	_, err = image.Write(context.Background(), ref, img, image.WriteOptions{})
	ts.Check(err)
}

func cutScheme(ref string) (string, bool) {
	if len(ref) > 4 && ref[:4] == "oci:" {
		return ref[4:], true
	}
	return ref, false
}

func makeGuest(ts *testscript.TestScript, _ bool, args []string) {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[16:], uint16(elf.ET_EXEC))
	binary.LittleEndian.PutUint16(b[18:], uint16(elf.EM_X86_64))
	binary.LittleEndian.PutUint32(b[20:], 1)
	binary.LittleEndian.PutUint16(b[52:], 64)
	binary.LittleEndian.PutUint16(b[54:], 56)
	binary.LittleEndian.PutUint16(b[58:], 64)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o755))
}
