package lean

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	smithyhttpbinding "github.com/aws/smithy-go/encoding/httpbinding"
)

const (
	contentType  = "application/x-amz-json-1.0"
	targetPrefix = "DynamoDB_20120810."
	service      = "dynamodb"
	algorithm    = "AWS4-HMAC-SHA256"

	// bodyOffset is the room before a body that its headers are put into; headers that need more move
	// the body.
	bodyOffset = 1 << 10
	// maxKeptBuffer bounds the buffers that are kept for the next call.
	maxKeptBuffer = 64 << 10
)

// scope is what all signatures of a transport have in common.
type scope struct {
	region string
	host   string // header Host
	path   string // of the request line
	// canonical is the path as it is signed: encoded once more.
	canonical string
}

func newScope(endpoint *url.URL, region string) scope {
	path := endpoint.EscapedPath()
	if path == "" {
		path = "/"
	}
	host := endpoint.Host
	// A port that the scheme implies is neither sent nor signed.
	if port := endpoint.Port(); port == "80" && endpoint.Scheme == "http" || port == "443" && endpoint.Scheme == "https" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return scope{region: region, host: host, path: path, canonical: smithyhttpbinding.EscapePath(path, false)}
}

// Call is a request with its reply, and what is kept from one to the next so that neither allocates.
type Call struct {
	// Body is what to append the body of the request to. What it holds already is room for headers.
	Body []byte

	// Reply is what the last request was answered.
	Reply Reply

	buffer []byte // the reply as it was read, headers included
	sum    hash.Hash
	text   []byte // canonical request
	head   []byte // string to sign, then headers
	key    signingKey
	// second is the one that stamp and its day are of.
	second int64
	stamp  [16]byte // 20060102T150405Z
}

// signingKey is derived for one day, and keeps what signing with it needs.
type signingKey struct {
	id, secret, token string
	day               [8]byte
	mac               hash.Hash // nil before the first key
	digest            [sha256.Size]byte
}

func newCall() *Call {
	return &Call{
		Body: make([]byte, bodyOffset, 4<<10), buffer: make([]byte, 0, 4<<10),
		text: make([]byte, 0, 1<<10), head: make([]byte, 0, bodyOffset), sum: sha256.New(), second: -1,
	}
}

// errHeader is returned for credentials that would break the headers they go into.
var errHeader = errors.New("the credentials hold characters that a header cannot carry")

// sign returns the whole request, ready to be written.
func (c *Call) sign(s *scope, keys *aws.Credentials, operation string, at time.Time) ([]byte, error) {
	if second := at.Unix(); second != c.second {
		c.second = second
		at.UTC().AppendFormat(c.stamp[:0], "20060102T150405Z")
	}
	if err := c.key.renew(s, keys, c.stamp[:8]); err != nil {
		return nil, err
	}
	body := c.Body[bodyOffset:]
	signed := "content-type;host;x-amz-date;x-amz-target"
	if keys.SessionToken != "" {
		signed = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
	}

	text := append(c.text[:0], "POST\n"...)
	text = append(text, s.canonical...)
	text = append(text, "\n\ncontent-type:"+contentType+"\nhost:"...)
	text = append(text, s.host...)
	text = append(text, "\nx-amz-date:"...)
	text = append(text, c.stamp[:]...)
	if keys.SessionToken != "" {
		text = append(text, "\nx-amz-security-token:"...)
		text = append(text, keys.SessionToken...)
	}
	text = append(text, "\nx-amz-target:"+targetPrefix...)
	text = append(text, operation...)
	text = append(text, "\n\n"...)
	text = append(text, signed...)
	text = append(text, '\n')
	text = c.appendSum(text, body)
	c.text = text

	head := append(c.head[:0], algorithm+"\n"...)
	head = append(head, c.stamp[:]...)
	head = append(head, '\n')
	head = appendScope(head, c.stamp[:8], s.region)
	head = append(head, '\n')
	head = c.appendSum(head, text)
	signature := c.key.sign(head)

	head = append(head[:0], "POST "...)
	head = append(head, s.path...)
	head = append(head, " HTTP/1.1\r\nHost: "...)
	head = append(head, s.host...)
	head = append(head, "\r\nUser-Agent: zae-limiter-go\r\nContent-Length: "...)
	head = strconv.AppendInt(head, int64(len(body)), 10)
	head = append(head, "\r\nContent-Type: "+contentType+"\r\nX-Amz-Target: "+targetPrefix...)
	head = append(head, operation...)
	head = append(head, "\r\nX-Amz-Date: "...)
	head = append(head, c.stamp[:]...)
	if keys.SessionToken != "" {
		head = append(head, "\r\nX-Amz-Security-Token: "...)
		head = append(head, keys.SessionToken...)
	}
	head = append(head, "\r\nAuthorization: "+algorithm+" Credential="...)
	head = append(head, keys.AccessKeyID...)
	head = append(head, '/')
	head = appendScope(head, c.stamp[:8], s.region)
	head = append(head, ", SignedHeaders="...)
	head = append(head, signed...)
	head = append(head, ", Signature="...)
	head = hex.AppendEncode(head, signature)
	head = append(head, "\r\n\r\n"...)
	c.head = head

	if len(head) > bodyOffset {
		// A token of several kilobytes: head and body in a piece of their own.
		c.head = append(head, body...)
		return c.head, nil
	}
	start := bodyOffset - len(head)
	copy(c.Body[start:], head)
	return c.Body[start:], nil
}

// appendSum appends the SHA-256 of data in hexadecimal digits.
func (c *Call) appendSum(to, data []byte) []byte {
	c.sum.Reset()
	c.sum.Write(data)
	return hex.AppendEncode(to, c.sum.Sum(c.key.digest[:0]))
}

func appendScope(to, day []byte, region string) []byte {
	to = append(to, day...)
	to = append(to, '/')
	to = append(to, region...)
	return append(to, "/"+service+"/aws4_request"...)
}

// renew derives the key again when the credentials or the day are not those of before.
func (k *signingKey) renew(s *scope, keys *aws.Credentials, day []byte) error {
	if k.mac != nil && string(day) == string(k.day[:]) &&
		keys.AccessKeyID == k.id && keys.SecretAccessKey == k.secret && keys.SessionToken == k.token {
		return nil
	}
	for _, text := range [...]string{keys.AccessKeyID, keys.SessionToken} {
		for i := range len(text) {
			if text[i] < ' ' || text[i] >= 0x7f {
				return errHeader
			}
		}
	}
	derived := []byte("AWS4" + keys.SecretAccessKey)
	for _, part := range [...]string{string(day), s.region, service, "aws4_request"} {
		mac := hmac.New(sha256.New, derived)
		mac.Write([]byte(part))
		derived = mac.Sum(nil)
	}
	k.id, k.secret, k.token = keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken
	copy(k.day[:], day)
	k.mac = hmac.New(sha256.New, derived)
	return nil
}

// sign returns the signature of a text, which is valid until the next one.
func (k *signingKey) sign(text []byte) []byte {
	k.mac.Reset()
	k.mac.Write(text)
	return k.mac.Sum(k.digest[:0])
}
