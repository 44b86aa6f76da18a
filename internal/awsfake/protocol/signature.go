package protocol

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	signatureAlgorithm = "AWS4-HMAC-SHA256"
	signatureTime      = "20060102T150405Z"
)

// signature is what a request says about who signed it and for what.
type signature struct {
	accessKey, token, region, service string
	signedHeaders                     []string
	value, date                       string
	presigned                         bool
}

// signatureOf reads the Authorization header, or the query of a presigned URL.
func signatureOf(r *http.Request) (*signature, error) {
	missing := &Error{Status: http.StatusForbidden, Code: "MissingAuthenticationToken", Message: "Missing Authentication Token"}
	s := &signature{token: r.Header.Get("X-Amz-Security-Token"), date: r.Header.Get("X-Amz-Date")}
	var credential, headers string
	if query := r.URL.Query(); query.Get("X-Amz-Algorithm") == signatureAlgorithm {
		credential, headers, s.value = query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders"), query.Get("X-Amz-Signature")
		s.token, s.date, s.presigned = query.Get("X-Amz-Security-Token"), query.Get("X-Amz-Date"), true
	} else {
		parts, ok := strings.CutPrefix(r.Header.Get("Authorization"), signatureAlgorithm+" ")
		if !ok {
			return nil, missing
		}
		for part := range strings.SplitSeq(parts, ",") {
			switch name, value, _ := strings.Cut(strings.TrimSpace(part), "="); name {
			case "Credential":
				credential = value
			case "SignedHeaders":
				headers = value
			case "Signature":
				s.value = value
			}
		}
	}
	scope := strings.Split(credential, "/") // key/date/region/service/aws4_request
	if len(scope) != 5 {
		return nil, &Error{Status: http.StatusForbidden, Code: "IncompleteSignature", Message: "Credential must have five parts separated by slashes"}
	}
	s.accessKey, s.region, s.service = scope[0], scope[2], scope[3]
	s.signedHeaders = strings.Split(headers, ";")
	return s, nil
}

// check signs the request again with the key's secret and compares.
func (s *signature) check(signer *v4.Signer, r *http.Request, body []byte, secret string) error {
	mismatch := &Error{
		Status: http.StatusForbidden, Code: "SignatureDoesNotMatch",
		Message: "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.",
	}
	at, err := time.Parse(signatureTime, s.date)
	if err != nil {
		return mismatch
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+r.Host+r.URL.RequestURI(), http.NoBody)
	if err != nil {
		return mismatch
	}
	again.Host, again.ContentLength = r.Host, 0
	for _, name := range s.signedHeaders {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = int64(len(body))
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	credentials := aws.Credentials{AccessKeyID: s.accessKey, SecretAccessKey: secret, SessionToken: s.token}
	hash := r.Header.Get("X-Amz-Content-Sha256")
	if hash == "" {
		sum := sha256.Sum256(body)
		hash = hex.EncodeToString(sum[:])
	}
	var computed string
	if s.presigned {
		computed, err = presignAgain(signer, again, credentials, hash, s, at)
	} else {
		err = signer.SignHTTP(r.Context(), credentials, again, hash, s.service, s.region, at)
		_, computed, _ = strings.Cut(again.Header.Get("Authorization"), "Signature=")
	}
	if err != nil || subtle.ConstantTimeCompare([]byte(computed), []byte(s.value)) != 1 {
		return mismatch
	}
	return nil
}

func presignAgain(signer *v4.Signer, again *http.Request, credentials aws.Credentials, hash string, s *signature, at time.Time) (string, error) {
	query := again.URL.Query()
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Date", "X-Amz-Security-Token"} {
		query.Del(name)
	}
	again.URL.RawQuery = query.Encode()
	signed, _, err := signer.PresignHTTP(again.Context(), credentials, again, hash, s.service, s.region, at)
	if err != nil {
		return "", err
	}
	_, value, _ := strings.Cut(signed, "X-Amz-Signature=")
	value, _, _ = strings.Cut(value, "&")
	return value, nil
}
