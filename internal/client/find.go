package client

import (
	"fmt"
	"regexp"
	"strings"
)

// minPrefix is how much of an id must be given to stand for it.
const minPrefix = 4

// maxKnown is how many names an error lists.
const maxKnown = 20

var uuid = regexp.MustCompile("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")

func isID(s string) bool { return uuid.MatchString(s) }

// object is what a person may call something by: its whole name, or at least
// minPrefix characters of its id or digest.
type object struct {
	id, name, digest string
}

func (o object) is(name string) bool {
	return name != "" && (o.id == name || o.name == name || o.digest == strings.ToLower(name))
}

func (o object) begins(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(o.id, name) || strings.HasPrefix(o.digest, name)
}

// AmbiguousError says that a name or an id's beginning stands for several objects.
type AmbiguousError struct {
	Kind, Name string
	IDs        []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%s %q stands for several: %s; give the id", e.Kind, e.Name, strings.Join(e.IDs, ", "))
}

// NotFoundError says that a name stands for nothing, and which names there are.
type NotFoundError struct {
	Kind, Name string
	Known      []string // their names, or ids where they have none
}

func (e *NotFoundError) Error() string {
	s := fmt.Sprintf("no %s is called %q; ", e.Kind, e.Name)
	if len(e.Known) == 0 {
		return s + "there are none yet"
	}
	s += "there are: " + strings.Join(e.Known[:min(len(e.Known), maxKnown)], ", ")
	if more := len(e.Known) - maxKnown; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// find returns the one item that name stands for. A whole name or id goes before
// the beginning of another's id.
func find[T any](kind, name string, items []T, describe func(T) object) (T, error) {
	var zero T
	hits := matching(items, func(it T) bool { return describe(it).is(name) })
	if len(hits) == 0 && len(name) >= minPrefix {
		hits = matching(items, func(it T) bool { return describe(it).begins(name) })
	}
	switch len(hits) {
	case 1:
		return hits[0], nil
	case 0:
		e := &NotFoundError{Kind: kind, Name: name}
		for _, it := range items {
			o := describe(it)
			if o.name == "" {
				o.name = o.id
			}
			e.Known = append(e.Known, o.name)
		}
		return zero, e
	}
	e := &AmbiguousError{Kind: kind, Name: name}
	for _, it := range hits {
		e.IDs = append(e.IDs, describe(it).id)
	}
	return zero, e
}

func matching[T any](items []T, is func(T) bool) []T {
	var hits []T
	for _, it := range items {
		if is(it) {
			hits = append(hits, it)
		}
	}
	return hits
}
