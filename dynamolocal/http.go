package dynamolocal

import (
	"context"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/faults"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

const targetPrefix = "DynamoDB_20120810."

// exchange is one request and its reply, with the memory for both. Exchanges are reused.
type exchange struct {
	request wire.Request
	reply   []byte
	status  int
	// crc is what the header says; faults make it wrong.
	crc uint32
	// cut is the number of bytes to send of the reply; drop closes the connection instead.
	cut   int
	drop  bool
	plain bool // no JSON, none of the service's headers
	id    [requestIDLength]byte
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

func (x *exchange) reset() {
	x.request = wire.Request{Names: x.request.Names[:0], Values: x.request.Values[:0]}
	x.reply = x.reply[:0]
	x.crc, x.cut, x.drop, x.plain = 0, -1, false, false
}

// handle performs the request of a target and a body, and leaves the reply in x. Whatever is stored
// of the body is copied.
func (e *Engine) handle(ctx context.Context, x *exchange, target, authorization string, body []byte) {
	x.reset()
	e.fillRequestID(&x.id)
	op, ok := strings.CutPrefix(target, targetPrefix)
	var err error
	switch {
	case ok && isDataOperation(op):
		err = e.handleData(ctx, x, op, body)
	case ok && controlOperations[op] != nil:
		region, account := credentialScope(authorization)
		var answer any
		answer, err = e.control(ctx, op, controlOperations[op], body, &control{region: region, account: account})
		if err == nil {
			x.reply = appendJSON(x.reply, answer)
		}
	case !ok && streamOperations[strings.TrimPrefix(target, streamPrefix)] != nil:
		err = e.handleStream(ctx, x, strings.TrimPrefix(target, streamPrefix), body)
	case len(body) > 0 && !json.Valid(body):
		err = &apiError{code: codeSerialization}
	default:
		err = &apiError{code: codeUnknown}
	}
	e.finish(x, err)
}

// finish sets the status and the sum of a reply, which is that of the error when there is one.
func (e *Engine) finish(x *exchange, err error) {
	x.status = http.StatusOK
	if err != nil {
		e.fail(x, err)
	}
	x.crc ^= crc32.ChecksumIEEE(x.reply)
}

func (e *Engine) handleData(ctx context.Context, x *exchange, op string, body []byte) error {
	if fault := wire.Decode(body, &x.request); fault != nil {
		return &apiError{code: codeSerialization, message: fault.Message}
	}
	res, err := e.call(ctx, op, &x.request, body, loopbackTrip)
	if res != nil {
		x.reply = appendResult(x.reply, op, &x.request, res)
	}
	return err
}

// fail turns an error into the reply, or into what a fault makes of it.
func (e *Engine) fail(x *exchange, err error) {
	var fault *transportFault
	if errors.As(err, &fault) {
		switch fault.fault.Action {
		case faults.Truncate:
			x.cut = len(x.reply) / 2
		case faults.WrongCRC:
			x.crc = 0xffffffff
		case faults.HTTP:
			x.status, x.plain = fault.fault.Status, true
			x.reply = append(x.reply[:0], http.StatusText(x.status)...)
		default:
			x.drop = true
		}
		return
	}
	if isContextError(err) {
		x.drop = true
		return
	}
	api := asAPIError(err)
	x.status = statusOf(api.code)
	x.reply = appendError(x.reply[:0], api)
}

// credentialScope reads the region and the access key id, which stands for the account when it is
// one, from an Authorization header.
func credentialScope(authorization string) (region, account string) {
	_, rest, ok := strings.Cut(authorization, "Credential=")
	if !ok {
		return "", ""
	}
	credential, _, _ := strings.Cut(rest, ",")
	parts := strings.Split(credential, "/")
	if len(parts) < 5 {
		return "", ""
	}
	key := parts[0]
	if _, err := strconv.ParseUint(key, 10, 64); err != nil || len(key) != 12 {
		key = ""
	}
	return strings.Clone(parts[len(parts)-3]), strings.Clone(key)
}

const (
	requestIDLength  = 52
	requestIDLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// fillRequestID writes an id that is unique for the engine.
func (e *Engine) fillRequestID(id *[requestIDLength]byte) {
	n := e.requestID.Add(1)
	state := n * 0x9e3779b97f4a7c15
	for i := range id {
		if i < 13 {
			id[i] = requestIDLetters[n%36]
			n /= 36
			continue
		}
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		id[i] = requestIDLetters[state%36]
	}
}

// refuse makes a reply of an error that precedes the request itself.
func (e *Engine) refuse(x *exchange, err error) {
	x.reset()
	e.fillRequestID(&x.id)
	e.finish(x, err)
}

// ServeHTTP implements http.Handler.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
	case http.MethodGet, http.MethodHead:
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, healthText(r.Host))
		return
	default:
		w.Header().Set("Allow", allowedMethods)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err == nil {
		body, err = expand(r.Header.Get("Content-Encoding"), body)
	}
	x := exchanges.Get().(*exchange)
	defer exchanges.Put(x)
	var api *apiError
	switch {
	case err == nil:
		e.handle(r.Context(), x, r.Header.Get("X-Amz-Target"), r.Header.Get("Authorization"), body)
	case errors.As(err, &api):
		e.refuse(x, api)
	default:
		http.Error(w, "request entity too large", http.StatusRequestEntityTooLarge)
		return
	}
	if x.drop {
		panic(http.ErrAbortHandler)
	}
	header := w.Header()
	if !x.plain {
		header.Set("Server", serverName)
		header.Set("Content-Type", contentTypeJSON)
		header.Set("X-Amz-Crc32", strconv.FormatUint(uint64(x.crc), 10))
		header.Set("X-Amzn-Requestid", string(x.id[:]))
	}
	header.Set("Content-Length", strconv.Itoa(len(x.reply)))
	w.WriteHeader(x.status)
	if x.cut >= 0 {
		_, _ = w.Write(x.reply[:x.cut])
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(x.reply)
}

const (
	serverName     = "Server" // what the service calls itself
	allowedMethods = "GET, HEAD, POST"
)

// healthText answers a health check; it names the host that was asked.
func healthText(host string) string { return "healthy: " + host + "\n" }
