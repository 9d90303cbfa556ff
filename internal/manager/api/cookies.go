package api

import (
	"net/http"
	"time"
)

const (
	sessionCookie = "hitoku_session"
	csrfHeader    = "X-CSRF-Header"
	basicPrefix   = "Basic "
	bearerPrefix  = "Bearer "
)

// cookie carries the session's token to browsers; JavaScript cannot read it, and
// other sites cannot cause it to be sent. Requests with it also need the header
// X-CSRF-Header: true.
func cookie(token string, expires time.Time) http.Cookie {
	return http.Cookie{Name: sessionCookie, Value: token, Path: "/", Expires: expires, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

// credentials are what a request carries in its header.
type credentials struct {
	bearer string
	cookie string
	csrf   bool
}

func readCredentials(r *http.Request) credentials {
	var c credentials
	if h := r.Header.Get("Authorization"); len(h) > len(bearerPrefix) && h[:len(bearerPrefix)] == bearerPrefix {
		c.bearer = h[len(bearerPrefix):]
	}
	if k, err := r.Cookie(sessionCookie); err == nil {
		c.cookie = k.Value
	}
	c.csrf = r.Header.Get(csrfHeader) == "true"
	return c
}
