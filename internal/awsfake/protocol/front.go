package protocol

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/encoding/cbor"
)

// maxBody bounds a request's body: the largest are function packages.
const maxBody = 64 << 20

// Identity is who signs with an access key.
type Identity struct {
	// Principal is the ARN of the user or of the role session; Account its account.
	Principal, Account string
	// UserID is the aws:userid.
	UserID string
	// Secret is the key's secret; the front checks the signature with it. Empty skips the check.
	Secret string
	// Guard decides what the identity may do; nil allows everything.
	Guard Guard
}

// Keys knows the access keys of an account. Find answers an unknown key, a wrong session token and a
// token that is over with an *Error in the words of IAM (InvalidClientTokenId, ExpiredToken).
type Keys interface {
	Find(accessKey, sessionToken string) (*Identity, error)
}

// Front is the HTTP face of all services: it recognises service, action and wire protocol by the
// request, checks the signature, decodes the input and encodes the answer. It is safe for concurrent
// use; its fields do not change while it serves.
type Front struct {
	// Account and Region are those of the calls whose key or signature names none.
	Account, Region string
	// Services are found by their name in signatures.
	Services []Service
	// Keys is asked for each request; nil accepts every key as the account's root.
	Keys Keys
	// Fail is asked before each operation; its error is the answer. May be nil.
	Fail func(call *Call) error
	// Log gets errors that are no *Error; nil discards them.
	Log *slog.Logger

	signing sync.Once
	signer  *v4.Signer // keeps the keys that it derives for each day
}

// spoken is the wire protocol of one request, which may be another one than the service's usual.
type spoken int

const (
	speaksREST spoken = iota
	speaksJSON
	speaksCBOR
	speaksQuery
	speaksEC2
)

// exchange is one request on its way through the front.
type exchange struct {
	w       http.ResponseWriter
	r       *http.Request
	speaks  spoken
	call    *Call
	service *Service
	form    url.Values
	body    []byte
}

// ServeHTTP answers one AWS request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: w, r: r, speaks: speechOf(r), call: &Call{Account: f.Account, Region: f.Region, ID: newID(), Host: r.Host}}
	w.Header().Set("X-Amzn-RequestId", x.call.ID)
	output, err := f.serve(x)
	switch {
	case err != nil:
		f.answerError(x, err)
	case x.speaks != speaksREST: // a REST service has answered by itself
		x.answer(output)
	}
}

func (f *Front) serve(x *exchange) (any, error) {
	var err error
	if x.body, err = readBody(http.MaxBytesReader(x.w, x.r.Body, maxBody)); err != nil {
		return nil, err
	}
	if err := f.admit(x); err != nil {
		return nil, err
	}
	if err := x.expand(); err != nil { // what is signed is what was sent
		return nil, err
	}
	if err := x.nameAction(); err != nil {
		return nil, err
	}
	if f.Fail != nil && x.call.Action != "" {
		if err := f.Fail(x.call); err != nil {
			return nil, err
		}
	}
	if x.service.Wire == REST {
		if x.service.Check != nil {
			if err := x.service.Check(x.call, x.body); err != nil {
				return nil, err
			}
		}
		x.speaks = speaksREST
		x.r.Body = io.NopCloser(bytes.NewReader(x.body))
		x.service.Handle(x.w, x.r, x.call)
		return nil, nil
	}
	operation, ok := x.service.Operations[x.call.Action]
	if !ok {
		return nil, Errorf(unknownAction(x.speaks), "the action %q of %s is not played here", x.call.Action, x.service.Name)
	}
	return operation.Serve(x.r.Context(), x.call, x.decode)
}

func readBody(r io.ReadCloser) ([]byte, error) {
	body, err := io.ReadAll(r)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, &Error{Status: http.StatusRequestEntityTooLarge, Code: "RequestEntityTooLargeException", Message: fmt.Sprintf("the request is larger than %d bytes", maxBody)}
	}
	if err != nil {
		return nil, malformed("the request's body: %v", err)
	}
	return body, nil
}

// expand takes compression away from a body; how large it may be holds for what comes out, too.
func (x *exchange) expand() error {
	if !strings.EqualFold(x.r.Header.Get("Content-Encoding"), "gzip") {
		return nil
	}
	plain, err := gzip.NewReader(bytes.NewReader(x.body))
	if err != nil {
		return malformed("the request's body is not compressed with gzip: %v", err)
	}
	if x.body, err = readBody(http.MaxBytesReader(x.w, plain, maxBody)); err != nil {
		return err
	}
	x.r.Header.Del("Content-Encoding")
	x.r.ContentLength = int64(len(x.body))
	return nil
}

// admit finds out who asks which service.
func (f *Front) admit(x *exchange) error {
	signature, err := signatureOf(x.r)
	if err != nil {
		return err
	}
	x.call.Service, x.call.Region = signature.service, signature.region
	for i := range f.Services {
		if f.Services[i].Name == signature.service {
			x.service = &f.Services[i]
		}
	}
	if x.service != nil && x.service.Wire == EC2Query {
		x.speaks = speaksEC2
	}
	x.call.Principal = "arn:aws:iam::" + f.Account + ":root"
	if f.Keys != nil {
		identity, err := f.Keys.Find(signature.accessKey, signature.token)
		if err != nil {
			return err
		}
		if identity.Secret != "" {
			f.signing.Do(func() { f.signer = v4.NewSigner() })
			if err := signature.check(f.signer, x.r, x.body, identity.Secret); err != nil {
				return err
			}
		}
		x.call.Principal, x.call.UserID, x.call.Account, x.call.Guard = identity.Principal, identity.UserID, identity.Account, identity.Guard
	}
	if x.service == nil {
		return &Error{Status: http.StatusNotFound, Code: unknownAction(x.speaks), Message: fmt.Sprintf("the service %q is not played here", signature.service)}
	}
	return nil
}

// speechOf recognises the protocol; EC2's is Query until the service is known.
func speechOf(r *http.Request) spoken {
	switch {
	case r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor":
		return speaksCBOR
	case r.Header.Get("X-Amz-Target") != "":
		return speaksJSON
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"), r.URL.Query().Has("Action"):
		return speaksQuery
	default:
		return speaksREST
	}
}

// nameAction reads the action where the protocol has it.
func (x *exchange) nameAction() error {
	switch x.speaks {
	case speaksCBOR: // /service/{service}/operation/{action}
		_, x.call.Action, _ = strings.Cut(x.r.URL.Path, "/operation/")
	case speaksJSON:
		target := x.r.Header.Get("X-Amz-Target")
		x.call.Action = target[strings.LastIndexByte(target, '.')+1:]
	case speaksQuery, speaksEC2:
		form, err := url.ParseQuery(string(x.body))
		if err != nil {
			return malformed("the body is not a form: %v", err)
		}
		for name, values := range x.r.URL.Query() { // a presigned call has everything in its URL
			if !form.Has(name) {
				form[name] = values
			}
		}
		x.form, x.call.Action = form, form.Get("Action")
	case speaksREST:
		if x.service.ActionOf != nil {
			x.call.Action = x.service.ActionOf(x.r)
		}
	}
	return nil
}

func (x *exchange) decode(into any) error {
	var value any
	var err error
	switch x.speaks {
	case speaksCBOR:
		value, err = plainCBOR(x.body)
	case speaksJSON, speaksREST:
		value, err = plainJSON(x.body)
	default:
		value = plainForm(x.form)
	}
	if err != nil {
		return err
	}
	return fill(into, value)
}

func (x *exchange) answer(output any) {
	withLists(output)
	switch x.speaks {
	case speaksCBOR:
		x.write(http.StatusOK, "application/cbor", cbor.Encode(cborOf(treeOf(output.(smithy.Serializable)))))
	case speaksJSON:
		x.write(http.StatusOK, x.jsonType(), jsonBytes(jsonOf(treeOf(output.(smithy.Serializable)), false)))
	case speaksQuery:
		var b bytes.Buffer
		inElement(&b, x.call.Action+"Response", func() {
			inElement(&b, x.call.Action+"Result", func() { writeXML(&b, treeOf(output.(smithy.Serializable))) })
			inElement(&b, "ResponseMetadata", func() { writeElement(&b, "RequestId", x.call.ID) })
		})
		x.write(http.StatusOK, "text/xml", b.Bytes())
	case speaksEC2:
		var b bytes.Buffer
		inElement(&b, x.call.Action+"Response", func() {
			writeElement(&b, "requestId", x.call.ID)
			writeXML(&b, ec2Tree(reflect.ValueOf(output).Elem()))
		})
		x.write(http.StatusOK, "text/xml", b.Bytes())
	}
}

// withLists makes lists of the answer empty that are absent: services answer so.
func withLists(output any) {
	structure := reflect.ValueOf(output).Elem()
	for i := range structure.NumField() {
		field := structure.Field(i)
		if field.Kind() == reflect.Slice && field.Type() != bytesType && field.IsNil() && field.CanSet() {
			field.Set(reflect.MakeSlice(field.Type(), 0, 0))
		}
	}
}

func (x *exchange) jsonType() string {
	if sent := x.r.Header.Get("Content-Type"); strings.HasPrefix(sent, "application/x-amz-json-1.") {
		return sent
	}
	return "application/x-amz-json-1.1"
}

func (x *exchange) write(status int, contentType string, body []byte) {
	x.w.Header().Set("Content-Type", contentType)
	if x.speaks == speaksCBOR {
		x.w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	}
	x.w.WriteHeader(status)
	_, _ = x.w.Write(body) // a client that left needs no answer
}

// jsonBytes marshals values that jsonOf made, which always can be.
func jsonBytes(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return data
}

func (f *Front) answerError(x *exchange, err error) {
	known, ok := errors.AsType[*Error](err)
	if !ok {
		if f.Log != nil && !errors.Is(err, context.Canceled) {
			f.Log.Error("operation failed", "service", x.call.Service, "action", x.call.Action, "error", err)
		}
		known = &Error{Status: http.StatusInternalServerError, Code: "InternalFailure", Message: err.Error()}
	}
	x.writeError(known)
}

// newID makes a request id in the form of a UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
