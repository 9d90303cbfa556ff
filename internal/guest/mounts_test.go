package guest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

// dockerMounts is /proc/self/mountinfo of a container of Docker Engine 28 (storage and cgroup lines shortened).
const dockerMounts = `611 520 0:57 / / rw,relatime master:221 - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/u,workdir=/w
612 611 0:60 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
613 611 0:61 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
614 613 0:62 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620,ptmxmode=666
615 611 0:63 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
616 615 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw
617 613 0:59 / /dev/mqueue rw,nosuid,nodev,noexec,relatime - mqueue mqueue rw
618 613 0:64 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=65536k
619 611 254:0 /var/lib/docker/containers/x/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw
620 611 254:0 /var/lib/docker/containers/x/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw
621 611 254:0 /var/lib/docker/containers/x/hosts /etc/hosts rw,relatime - ext4 /dev/vda rw
622 611 0:25 /hitoku/tee /run/hitoku/tee rw,nosuid,nodev - tmpfs tmpfs rw,size=1000k
521 612 0:60 /bus /proc/bus ro,nosuid,nodev,noexec,relatime - proc proc rw
522 612 0:60 /sys /proc/sys ro,nosuid,nodev,noexec,relatime - proc proc rw
523 612 0:65 / /proc/acpi ro,relatime - tmpfs tmpfs ro
524 612 0:61 /null /proc/kcore rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
525 615 0:67 / /sys/firmware ro,relatime - tmpfs tmpfs ro
`

// podmanMounts adds what Podman does differently.
const podmanMounts = `700 600 0:57 / / rw,relatime - overlay overlay rw
701 700 0:60 / /proc rw - proc proc rw
702 700 0:61 / /dev rw - tmpfs tmpfs rw
703 702 0:62 /0 /dev/console rw - devpts devpts rw
704 700 0:63 / /sys ro - sysfs sysfs rw
705 700 0:64 /c/.containerenv /run/.containerenv rw - tmpfs tmpfs rw
706 700 0:64 /c/hosts /etc/hosts rw - tmpfs tmpfs rw
707 702 0:5 /null /dev/null rw - devtmpfs devtmpfs rw
`

// kubernetesMounts adds what the kubelet does differently.
const kubernetesMounts = `800 600 0:57 / / rw,relatime - overlay overlay rw
801 800 0:60 / /proc rw - proc proc rw
802 800 0:61 / /dev rw - tmpfs tmpfs rw
803 802 254:1 /var/lib/kubelet/pods/x/containers/a/1 /dev/termination-log rw - ext4 /dev/sda1 rw
804 800 0:99 / /run/secrets/kubernetes.io/serviceaccount ro - tmpfs tmpfs rw
805 800 254:1 /var/lib/kubelet/pods/x/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw
806 801 0:77 /proc/cpuinfo /proc/cpuinfo rw - fuse.lxcfs lxcfs rw
`

const minimalMounts = "1 0 0:1 / / rw - overlay o rw\n2 1 0:2 / /proc rw - proc proc rw\n"

func TestJudgeMounts(t *testing.T) {
	t.Parallel()
	line := func(point, fstype string) string {
		return minimalMounts + "9 1 254:0 /host " + point + " rw - " + fstype + " /dev/vda rw\n"
	}
	for name, c := range map[string]struct {
		mounts string
		want   []string
	}{
		"Docker":                              {dockerMounts, nil},
		"Podman":                              {podmanMounts, nil},
		"Kubernetes":                          {kubernetesMounts, nil},
		"no /proc":                            {"1 0 0:1 / / rw - overlay o rw\n", []string{"mount /proc"}},
		"a bind mount as /proc":               {"1 0 0:1 / / rw - overlay o rw\n2 1 0:2 / /proc rw - ext4 /dev/vda rw\n", []string{"mount /proc", "mount /proc"}},
		"over a file":                         {line("/etc/ssl/openssl.cnf", "ext4"), []string{"mount /etc/ssl/openssl.cnf"}},
		"over a folder":                       {line("/usr/lib", "overlay"), []string{"mount /usr/lib"}},
		"over the guest":                      {line("/.hitoku", "tmpfs"), []string{"mount /.hitoku"}},
		"with a blank in its name":            {line(`/etc/a\040b`, "tmpfs"), []string{"mount /etc/a b"}},
		"over /etc":                           {line("/etc", "tmpfs"), []string{"mount /etc"}},
		"writable folder":                     {line("/srv/data", "ext4"), nil},
		"below a writable folder":             {line("/srv/data/a/b", "ext4"), nil},
		"below the target of a writable link": {line("/real/logs", "ext4"), nil},
		"beside a writable folder":            {line("/srv/database", "ext4"), []string{"mount /srv/database"}},
		"above a writable folder":             {line("/srv", "ext4"), []string{"mount /srv"}},
		"over /proc/self":                     {line("/proc/self/status", "tmpfs"), []string{"mount /proc/self/status"}},
		"over /proc/net":                      {line("/proc/net", "proc"), []string{"mount /proc/net"}},
		"over /proc/1":                        {line("/proc/1", "proc"), []string{"mount /proc/1"}},
		"over a setting of the kernel":        {line("/proc/sys/net/core", "tmpfs"), []string{"mount /proc/sys/net/core"}},
		"settings made read-only":             {line("/proc/sys", "proc"), nil},
		"a file of the host in /proc":         {line("/proc/cpuinfo", "ext4"), []string{"mount /proc/cpuinfo"}},
		"a file of the host in /dev":          {line("/dev/urandom", "ext4"), []string{"mount /dev/urandom"}},
		"a disk as /dev":                      {line("/dev", "ext4"), []string{"mount /dev"}},
		"a disk as /sys":                      {line("/sys", "ext4"), []string{"mount /sys"}},
	} {
		m := &workload.Manifest{
			Files:   []workload.File{{Path: "/", Type: workload.TypeDir}, {Path: "/logs", Type: workload.TypeSymlink, Link: "real/logs"}},
			Folders: []workload.Folder{{Mode: workload.FolderRW, Path: "/logs"}, {Mode: workload.FolderRW, Path: "/srv/data"}},
			Exec:    workload.Exec{WorkDir: "/"},
		}
		mounts, err := parseMountinfo(strings.NewReader(c.mounts))
		must(t, err)
		var refused refusals
		NewWorld(m).judgeMounts(mounts, "/", &refused)
		if got := refusedAs(t, refused.err()); !slices.Equal(got, c.want) {
			t.Errorf("%s: refused %q, wanted %q", name, got, c.want)
		}
	}
}

func TestParseMountinfoRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"x", "1 0 0:1 / / rw\n", "1 0 0:1 / relative rw - a b c\n", `1 0 0:1 / /\04 rw - a b c`, `1 0 0:1 / /\999 rw - a b c`, "1 0 0:1 / / rw - a\n", strings.Repeat("x", 100<<10),
	} {
		if got, err := parseMountinfo(strings.NewReader(text)); err == nil {
			t.Errorf("%.40q gives %v", text, got)
		}
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add(dockerMounts)
	f.Add(podmanMounts)
	f.Add("9 1 0:1 / /a\\040b\\134 rw shared:1 master:2 - ext4 /dev/x rw")
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := parseMountinfo(strings.NewReader(text))
		if err != nil {
			return
		}
		var refused refusals
		NewWorld(&workload.Manifest{Exec: workload.Exec{WorkDir: "/"}}).judgeMounts(mounts, "/", &refused)
	})
}

// TestMountsOverFiles makes real mounts inside a verified tree: mountinfo and
// the walk each see them.
func TestMountsOverFiles(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for name, c := range map[string]struct {
		mount func(t *testing.T, root string) error
		want  []string
	}{
		"same content over a file": {func(t *testing.T, root string) error {
			return unix.Mount(root+"/app", root+"/app", "", unix.MS_BIND, "")
		}, []string{"mount /app"}},
		"over a folder": {func(t *testing.T, root string) error {
			return unix.Mount(root+"/usr/lib/python3", root+"/usr/lib/python3", "", unix.MS_BIND, "")
		}, []string{"mount /usr/lib/python3"}},
		"tmpfs over a folder": {func(t *testing.T, root string) error {
			return unix.Mount("tmpfs", root+"/etc", "tmpfs", 0, "")
		}, []string{"mount /etc"}},
		"over a writable folder": {func(t *testing.T, root string) error {
			return unix.Mount("tmpfs", root+"/srv/data", "tmpfs", 0, "")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := sampleTree(t)
			m := sampleManifest(t, root)
			inMountNamespace(t, func() {
				must(t, c.mount(t, root))
				_, err := NewWorld(m).Verify(t.Context(), root) // the walk alone
				if got := refusedAs(t, err); !slices.Equal(got, c.want) {
					t.Errorf("walk refused %q, wanted %q", got, c.want)
				}
				f, err := os.Open("/proc/thread-self/mountinfo")
				must(t, err)
				defer f.Close()
				mounts, err := parseMountinfo(f)
				must(t, err)
				var refused refusals
				NewWorld(m).judgeMounts(append(mounts, mount{Point: root + "/proc", FSType: "proc"}), root, &refused)
				if got := refusedAs(t, refused.err()); !slices.Equal(got, c.want) {
					t.Errorf("mountinfo refused %q, wanted %q", got, c.want)
				}
			})
		})
	}
}
