package lean

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// dialer makes connections to one endpoint.
type dialer struct {
	address string      // host:port of the endpoint
	tls     *tls.Config // nil for http
	proxy   *url.URL    // nil for none
	net     net.Dialer
}

func newDialer(c *Config) (dialer, error) {
	u := c.Endpoint
	d := dialer{net: net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
		d.tls = &tls.Config{}
		if c.TLS != nil {
			d.tls = c.TLS.Clone()
		}
		if d.tls.ServerName == "" {
			d.tls.ServerName = u.Hostname()
		}
		d.tls.NextProtos = nil // HTTP/1.1 only
		if d.tls.ClientSessionCache == nil {
			d.tls.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		}
		if c.Proxy != nil {
			var err error
			if d.proxy, err = c.Proxy(u); err != nil {
				return dialer{}, err
			}
		}
	}
	if d.proxy != nil && d.proxy.Scheme != "http" && d.proxy.Scheme != "https" {
		return dialer{}, fmt.Errorf("a proxy like %s:// is not known to this client; http:// and https:// are", d.proxy.Scheme)
	}
	d.address = hostPort(u, port)
	return d, nil
}

func hostPort(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// connect opens a connection, through the proxy and with TLS where these are.
func (d *dialer) connect(ctx context.Context) (*conn, error) {
	if d.tls == nil {
		raw, err := d.net.DialContext(ctx, "tcp", d.address)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: raw, raw: raw}, nil
	}
	raw, inner, err := d.reach(ctx)
	if err != nil {
		return nil, err
	}
	counted := &countedConn{Conn: inner}
	secure, err := handshake(ctx, counted, d.tls)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return &conn{Conn: secure, raw: raw, sent: counted}, nil
}

// reach connects to the address itself, or has the proxy do it.
func (d *dialer) reach(ctx context.Context) (raw, inner net.Conn, err error) {
	if d.proxy == nil {
		raw, err = d.net.DialContext(ctx, "tcp", d.address)
		return raw, raw, err
	}
	port := "80"
	if d.proxy.Scheme == "https" {
		port = "443"
	}
	if raw, err = d.net.DialContext(ctx, "tcp", hostPort(d.proxy, port)); err != nil {
		return nil, nil, fmt.Errorf("proxy: %w", err)
	}
	inner = raw
	if d.proxy.Scheme == "https" {
		inner, err = handshake(ctx, raw, &tls.Config{ServerName: d.proxy.Hostname(), RootCAs: d.tls.RootCAs})
	}
	if err == nil {
		err = d.tunnel(ctx, inner)
	}
	if err != nil {
		raw.Close()
		return nil, nil, fmt.Errorf("proxy %s: %w", d.proxy.Host, err)
	}
	return raw, inner, nil
}

// tunnel asks a proxy for a connection to the address.
func (d *dialer) tunnel(ctx context.Context, c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request := "CONNECT " + d.address + " HTTP/1.1\r\nHost: " + d.address + "\r\n"
	if user := d.proxy.User; user != nil {
		password, _ := user.Password()
		request += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)) + "\r\n"
	}
	if _, err := c.Write([]byte(request + "\r\n")); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	response, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	if r.Buffered() > 0 { // the other side speaks second in TLS
		return errors.New("unexpected bytes after the answer to CONNECT")
	}
	return nil
}

func handshake(ctx context.Context, c net.Conn, config *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	secure := tls.Client(c, config)
	return secure, secure.HandshakeContext(ctx)
}
