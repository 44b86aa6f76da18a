package webapi

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// sessionCookie holds what the login page gave: a value made from the token, not the token.
const sessionCookie = "zae_limiter_web"

func setSafetyHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
}

// checkHost refuses names that a server on loopback cannot have. A page elsewhere could have its own
// name point here and would then be of the same origin.
func (s *Server) checkHost(r *http.Request) error {
	if !s.config.Loopback || isLoopbackName(r.Host) {
		return nil
	}
	for _, origin := range s.config.AllowOrigins {
		if u, err := url.Parse(origin); err == nil && strings.EqualFold(u.Host, r.Host) {
			return nil
		}
	}
	return &statusError{http.StatusForbidden, fmt.Sprintf("host %q is not a name of this machine; use http://localhost with the port, or name the address with --web-allow-origin", r.Host)}
}

func isLoopbackName(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	host = strings.ToLower(host)
	if address, err := netip.ParseAddr(host); err == nil {
		return address.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// pages may be opened by following a link from another site: looking at them changes nothing, and
// the other site cannot read them.
var pages = map[string]bool{"/": true, "/login": true, "/stats/report": true}

// checkOrigin refuses what a browser sends on behalf of a site that is not allowed. GET is checked
// like POST, because /stop and /stats/reset are reached by it. Programs that are no browsers send
// neither of the headers that tell.
func (s *Server) checkOrigin(w http.ResponseWriter, r *http.Request) error {
	if pages[r.URL.Path] && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return nil
	}
	checked := *r
	checked.Method = http.MethodPost
	if err := s.origins.Check(&checked); err != nil {
		return &statusError{http.StatusForbidden, "requests from other sites are refused; --web-allow-origin names those that may"}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		s.allowReading(w.Header(), r, origin)
	}
	return nil
}

// allowReading lets pages of an allowed origin see the answer.
func (s *Server) allowReading(h http.Header, r *http.Request, origin string) {
	h.Add("Vary", "Origin")
	if !slices.Contains(s.config.AllowOrigins, origin) {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", "600")
	}
}

// authenticated reports whether a request shows the token, or needs none.
func (s *Server) authenticated(r *http.Request) bool {
	if s.config.Token == "" || r.URL.Path == "/login" || r.URL.Path == "/healthz" {
		return true
	}
	if _, password, ok := r.BasicAuth(); ok {
		return s.isToken(password)
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return s.isToken(token)
	}
	cookie, err := r.Cookie(sessionCookie)
	return err == nil && subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(s.session())) == 1
}

func (s *Server) isToken(given string) bool {
	// Hashed first, so that the time says nothing about the length either.
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(s.config.Token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func (s *Server) session() string {
	mac := hmac.New(sha256.New, []byte(s.config.Token))
	mac.Write([]byte("zae-limiter web session"))
	return hex.EncodeToString(mac.Sum(nil))
}

// demandLogin sends a person to the login page, as Locust does, and tells a program what is missing.
func (s *Server) demandLogin(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") {
		next := s.config.BasePath + r.URL.RequestURI()
		http.Redirect(w, r, s.config.BasePath+"/login?next="+url.QueryEscape(next), http.StatusFound)
		return
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	s.refuse(w, r, &statusError{http.StatusUnauthorized, "this server needs its token: send it as a bearer token or as the password of basic authentication"})
}

// login checks the token of the login page and opens a session.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badRequest("login", err)
	}
	next := s.safeNext(r.PostForm.Get("next"))
	if s.config.Token != "" {
		if !s.isToken(r.PostForm.Get("token")) {
			return s.writeLogin(w, http.StatusUnauthorized, loginArgs{Next: next, Error: "That is not the token."})
		}
		http.SetCookie(w, &http.Cookie{
			Name: sessionCookie, Value: s.session(), Path: s.config.BasePath + "/",
			HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
		})
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) error {
	if s.config.Token == "" {
		http.Redirect(w, r, s.config.BasePath+"/", http.StatusFound)
		return nil
	}
	return s.writeLogin(w, http.StatusOK, loginArgs{Next: s.safeNext(r.URL.Query().Get("next"))})
}

// safeNext returns a path of this server to go on with.
func (s *Server) safeNext(next string) string {
	home := s.config.BasePath + "/"
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(next, home) ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n") {
		return home
	}
	return next
}

type loginArgs struct{ Next, Error string }

// page is the form, with the message and the path to go on with in it.
func (a loginArgs) page() string {
	alert := ""
	if a.Error != "" {
		alert = `<p role="alert">` + html.EscapeString(a.Error) + "</p>\n"
	}
	return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>zae-limiter load test</title>
<style>body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh;margin:0}
form{display:grid;gap:12px;width:min(320px,90vw)}input,button{font:inherit;padding:8px}</style></head>
<body><form method="post"><h1>zae-limiter load test</h1>
` + alert + `<input type="hidden" name="next" value="` + html.EscapeString(a.Next) + `">
<label for="token">Token</label><input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button></form></body></html>
`
}

func (s *Server) writeLogin(w http.ResponseWriter, status int, args loginArgs) error {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	w.WriteHeader(status)
	_, err := io.WriteString(w, args.page())
	return err
}

// newNonce returns a value that marks the scripts of one page.
func newNonce() string { return rand.Text() }
