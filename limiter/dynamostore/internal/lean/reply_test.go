package lean

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func reply(status, headers, body string) string {
	return "HTTP/1.1 " + status + "\r\n" + headers + "\r\n" + body
}

func TestRepliesAreReadWhateverTheirFraming(t *testing.T) {
	long := strings.Repeat("x", 20_000)
	for _, tt := range []struct {
		name, text, body string
		status           int
		reusable         bool
	}{
		{"a length", reply("200 OK", "Content-Length: 2\r\n", "{}"), "{}", 200, true},
		{"no reason", "HTTP/1.1 200\r\ncontent-length:2\r\n\r\n{}", "{}", 200, true},
		{"an error", reply("400 Bad Request", "Content-Length: 3\r\n", "bad"), "bad", 400, true},
		{"larger than the buffer", reply("200 OK", "Content-Length: 20000\r\n", long), long, 200, true},
		{"chunks", reply("200 OK", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), "abcde", 200, true},
		{"the server closes", reply("200 OK", "Connection: close\r\nContent-Length: 2\r\n", "{}"), "{}", 200, false},
		{"to the end", reply("200 OK", "", "abc"), "abc", 200, false},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", "{}", 200, false},
		{"bytes nobody asked for", reply("200 OK", "Content-Length: 2\r\n", "{}HTTP/1.1 200 OK\r\n"), "{}", 200, false},
		{"an interim answer", reply("100 Continue", "", "") + reply("200 OK", "Content-Length: 2\r\n", "{}"), "{}", 200, true},
		{"no body", reply("204 No Content", "", ""), "", 204, true},
		{"a checksum", reply("200 OK", fmt.Sprintf("X-Amz-Crc32: %d\r\nContent-Length: 2\r\n", crc32.ChecksumIEEE([]byte("{}"))), "{}"), "{}", 200, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, from := range map[string]io.Reader{
				"at once": strings.NewReader(tt.text), "by bytes": iotest.OneByteReader(strings.NewReader(tt.text)),
			} {
				call := newCall()
				reusable, err := readReply(from, call)
				if err != nil || call.Reply.Status != tt.status || string(call.Reply.Body) != tt.body {
					t.Fatalf("%s: %d %q, %v", name, call.Reply.Status, call.Reply.Body, err)
				}
				// What follows a reply is seen when it arrives with it, and before the next request otherwise.
				if name == "at once" && reusable != tt.reusable {
					t.Errorf("reusable: %v", reusable)
				}
			}
		})
	}
}

func TestRepliesThatAreNoneAreErrors(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":              "",
		"another protocol":     "-ERR unknown command\r\n\r\n",
		"half a head":          "HTTP/1.1 200 OK\r\nContent-Le",
		"half a body":          reply("200 OK", "Content-Length: 10\r\n", "{}"),
		"two lengths":          reply("200 OK", "Content-Length: 2\r\nContent-Length: 3\r\n", "{}"),
		"length and chunks":    reply("200 OK", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
		"a negative length":    reply("200 OK", "Content-Length: -2\r\n", ""),
		"a huge length":        reply("200 OK", "Content-Length: 99999999999\r\n", ""),
		"compressed":           reply("200 OK", "Content-Encoding: gzip\r\nContent-Length: 2\r\n", "{}"),
		"another coding":       reply("200 OK", "Transfer-Encoding: gzip, chunked\r\n", ""),
		"a bad chunk":          reply("200 OK", "Transfer-Encoding: chunked\r\n", "zz\r\n"),
		"half a chunk":         reply("200 OK", "Transfer-Encoding: chunked\r\n", "5\r\nab"),
		"no end of the chunks": reply("200 OK", "Transfer-Encoding: chunked\r\n", "0\r\n"),
		"a trailer":            reply("200 OK", "Transfer-Encoding: chunked\r\n", "0\r\nT: v\r\n\r\n"),
		"a status of no digit": "HTTP/1.1 2x0 OK\r\n\r\n",
		"a folded header":      reply("200 OK", "A: b\r\n c\r\nContent-Length: 0\r\n", ""),
		"a header of no name":  reply("200 OK", ": b\r\n", ""),
		"another protocol now": reply("101 Switching Protocols", "", ""),
		"a checksum of words":  reply("200 OK", "X-Amz-Crc32: many\r\nContent-Length: 2\r\n", "{}"),
		"a head without end":   "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", maxHeadBytes),
	} {
		if reusable, err := readReply(strings.NewReader(text), newCall()); err == nil || reusable {
			t.Errorf("%s: reusable %v, error %v", name, reusable, err)
		}
	}
	_, err := readReply(strings.NewReader(reply("200 OK", "X-Amz-Crc32: 1\r\nContent-Length: 2\r\n", "{}")), newCall())
	if sum, ok := errors.AsType[*ChecksumError](err); !ok || sum.Expected != 1 {
		t.Errorf("a wrong checksum: %v", err)
	}
}

func TestTheHeadersOfAReplyAreThereForThoseWhoAsk(t *testing.T) {
	call := newCall()
	text := reply("400 Bad Request", "X-Amzn-Requestid: abc\r\nDate: Fri, 27 Nov 2026 10:00:00 GMT\r\nContent-Length: 0\r\n", "")
	if _, err := readReply(strings.NewReader(text), call); err != nil {
		t.Fatal(err)
	}
	if id := call.Reply.Header().Get("X-Amzn-Requestid"); id != "abc" || string(call.Reply.Date) != "Fri, 27 Nov 2026 10:00:00 GMT" {
		t.Errorf("id %q, date %q", id, call.Reply.Date)
	}
	if _, err := readReply(strings.NewReader(reply("200 OK", "Date: x\r\nAge: 3\r\nContent-Length: 0\r\n", "")), call); err != nil || len(call.Reply.Date) > 0 {
		t.Errorf("the date of a cached reply: %q, %v", call.Reply.Date, err)
	}
}

// FuzzReply holds the reader to net/http's: what it accepts, both read alike, and how the bytes arrive does
// not matter.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		reply("200 OK", "Content-Length: 2\r\n", "{}"), reply("200 OK", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
		reply("200 OK", "", "abc"), reply("100 Continue", "", "") + reply("400 Bad", "Content-Length: 1\r\n", "x"),
		reply("204 No Content", "Content-Length: 5\r\n", "abcde"), reply("200 OK", "Content-Length: 2\r\nConnection: close, x\r\n", "{}y"),
		"HTTP/1.0 200\r\n\r\n", "HTTP/1.0 200 \n0\r\n\r\n", "HTTP/1.0 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n", "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", reply("200 OK", "Content-Length: +2\r\n", "{}"),
		reply("200 OK", "X-Amz-Crc32: 2745614147\r\nContent-Length: 2\r\n", "{}"), reply("200 OK", "Content-Length : 2\r\n", "{}"),
		reply("200 OK", "Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n"), reply("200 OK", "Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		call := newCall()
		reusable, err := readReply(bytes.NewReader(data), call)
		if err != nil {
			if reusable {
				if _, ok := errors.AsType[*ChecksumError](err); !ok {
					t.Fatalf("reusable after %v", err)
				}
			}
			return
		}
		slow := newCall()
		if _, err := readReply(iotest.OneByteReader(bytes.NewReader(data)), slow); err != nil || !bytes.Equal(slow.Reply.Body, call.Reply.Body) {
			t.Fatalf("byte by byte: %q, %v, not %q", slow.Reply.Body, err, call.Reply.Body)
		}
		r := bufio.NewReader(bytes.NewReader(data))
		for {
			want, err := http.ReadResponse(r, &http.Request{Method: http.MethodPost})
			if err != nil {
				t.Fatalf("accepted %q, which net/http does not: %v", data, err)
			}
			if want.StatusCode < 200 {
				continue
			}
			body, err := io.ReadAll(want.Body)
			if err != nil || want.StatusCode != call.Reply.Status || !bytes.Equal(body, call.Reply.Body) {
				t.Fatalf("got %d %q, net/http reads %d %q, %v", call.Reply.Status, call.Reply.Body, want.StatusCode, body, err)
			}
			call.Reply.Header()
			return
		}
	})
}
