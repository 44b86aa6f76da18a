package dynamolocal

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"
)

// expand returns the body of a request that came under a Content-Encoding. The service answers an
// encoding that it does not know, or a body that is not what its encoding says, as an error of its
// own.
func expand(encoding string, body []byte) ([]byte, error) {
	var reader io.Reader
	var err error
	switch strings.ToLower(encoding) {
	case "", "identity":
		return body, nil
	case "gzip":
		reader, err = gzip.NewReader(bytes.NewReader(body))
	case "deflate":
		reader, err = zlib.NewReader(bytes.NewReader(body))
	default:
		err = errors.New("unknown Content-Encoding " + encoding)
	}
	if err != nil {
		return nil, &apiError{code: codeInternal, message: err.Error()}
	}
	plain, err := io.ReadAll(io.LimitReader(reader, maxRequestBytes+1))
	switch {
	case err != nil:
		return nil, &apiError{code: codeInternal, message: err.Error()}
	case len(plain) > maxRequestBytes:
		return nil, errTooLarge
	}
	return plain, nil
}
