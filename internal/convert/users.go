package convert

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

const (
	passwdPath = "/etc/passwd"
	groupPath  = "/etc/group"
	maxUser    = 1<<31 - 1 // what engines accept
)

// user is whom the program runs as.
type user struct {
	uid, gid uint32
	groups   []uint32
	home     string
}

type passwdLine struct {
	name, home string
	uid, gid   int64
}

type groupLine struct {
	name    string
	gid     int64
	members []string
}

// resolveUser reads USER as container engines do: "", user, uid, user:group,
// uid:gid and mixtures. A name must be in the image's files, a number need not.
// Without a group in spec, the groups that list the user are added.
func resolveUser(spec string, passwd, group []byte) (user, error) {
	wantUser, wantGroup, hasGroup := strings.Cut(spec, ":")
	hasGroup = hasGroup && wantGroup != ""
	out := user{home: "/"}

	number, numeric := parseID(wantUser)
	if wantUser == "" {
		number, numeric = 0, true
	}
	name := ""
	found := false
	for _, p := range parsePasswd(passwd) {
		if numeric && p.uid == number || !numeric && p.name == wantUser {
			out.uid, out.gid, name, found = uint32(p.uid), uint32(p.gid), p.name, true
			if strings.HasPrefix(p.home, "/") {
				out.home = cleanPath(p.home)
			}
			if p.uid < 0 || p.uid > maxUser || p.gid < 0 || p.gid > maxUser {
				return user{}, fail(KindImage, "USER %q: /etc/passwd of the image gives it %d:%d, which is out of range", spec, p.uid, p.gid)
			}
			break
		}
	}
	if !found {
		if !numeric {
			return user{}, fail(KindImage, "USER %q: no user %q in /etc/passwd of the image", spec, wantUser).
				advise("no engine starts this image; set USER to a number or to a user that exists")
		}
		if number < 0 || number > maxUser {
			return user{}, fail(KindImage, "USER %q: user id out of range", spec)
		}
		out.uid = uint32(number)
	}

	groups := parseGroup(group)
	if hasGroup {
		gid, err := resolveGroup(spec, wantGroup, groups)
		if err != nil {
			return user{}, err
		}
		out.gid = gid
	} else if name != "" {
		for _, g := range groups {
			if slices.Contains(g.members, name) && g.gid >= 0 && g.gid <= maxUser {
				out.groups = append(out.groups, uint32(g.gid))
			}
		}
	}
	out.groups = append(out.groups, out.gid)
	slices.Sort(out.groups)
	out.groups = slices.Compact(out.groups)
	return out, nil
}

func resolveGroup(spec, want string, groups []groupLine) (uint32, error) {
	number, numeric := parseID(want)
	for _, g := range groups {
		if numeric && g.gid == number || !numeric && g.name == want {
			if g.gid < 0 || g.gid > maxUser {
				return 0, fail(KindImage, "USER %q: group id %d out of range", spec, g.gid)
			}
			return uint32(g.gid), nil
		}
	}
	if !numeric {
		return 0, fail(KindImage, "USER %q: no group %q in /etc/group of the image", spec, want).
			advise("no engine starts this image; set USER to numbers or to a group that exists")
	}
	if number < 0 || number > maxUser {
		return 0, fail(KindImage, "USER %q: group id out of range", spec)
	}
	return uint32(number), nil
}

func parseID(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// fields calls line with the fields of each line that is not empty.
func fields(data []byte, line func(f []string)) {
	for raw := range bytes.Lines(data) {
		if s := strings.TrimSpace(string(raw)); s != "" {
			line(strings.Split(s, ":"))
		}
	}
}

func at(f []string, i int) string {
	if i < len(f) {
		return f[i]
	}
	return ""
}

func parsePasswd(data []byte) []passwdLine {
	var out []passwdLine
	fields(data, func(f []string) {
		uid, _ := parseID(at(f, 2)) // engines take what is no number for 0
		gid, _ := parseID(at(f, 3))
		out = append(out, passwdLine{at(f, 0), at(f, 5), uid, gid})
	})
	return out
}

func parseGroup(data []byte) []groupLine {
	var out []groupLine
	fields(data, func(f []string) {
		gid, _ := parseID(at(f, 2))
		g := groupLine{name: at(f, 0), gid: gid}
		if m := at(f, 3); m != "" {
			g.members = strings.Split(m, ",")
		}
		out = append(out, g)
	})
	return out
}
