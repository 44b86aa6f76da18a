package protocol

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"

	"github.com/aws/smithy-go/encoding/cbor"
)

// Codes that IAM's errors have outside of Query.
var (
	jsonCodes = map[string]string{
		"AccessDenied": "AccessDeniedException", "ExpiredToken": "ExpiredTokenException",
		"InvalidClientTokenId": "UnrecognizedClientException", "SignatureDoesNotMatch": "InvalidSignatureException",
		"MissingAuthenticationToken": "MissingAuthenticationTokenException",
	}
	ec2Codes = map[string]string{
		"AccessDenied": "UnauthorizedOperation", "InvalidClientTokenId": "AuthFailure", "SignatureDoesNotMatch": "AuthFailure",
		"ExpiredToken": "RequestExpired",
	}
)

func unknownAction(speaks spoken) string {
	if speaks == speaksQuery || speaks == speaksEC2 {
		return "InvalidAction"
	}
	return "UnknownOperationException"
}

// writeError answers an error as the request's protocol has it.
func (x *exchange) writeError(e *Error) {
	status := cmp.Or(e.Status, http.StatusBadRequest)
	if jsonCodes[e.Code] != "" && (x.speaks == speaksJSON || x.speaks == speaksCBOR) {
		status = http.StatusBadRequest
	}
	fault := "Sender"
	if status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	switch x.speaks {
	case speaksQuery:
		var b bytes.Buffer
		inElement(&b, "ErrorResponse", func() {
			inElement(&b, "Error", func() {
				writeElement(&b, "Type", fault)
				writeElement(&b, "Code", e.Code)
				writeElement(&b, "Message", e.Message)
				for name, value := range e.Fields {
					writeElement(&b, name, fmt.Sprint(value))
				}
			})
			writeElement(&b, "RequestId", x.call.ID)
		})
		x.write(status, "text/xml", b.Bytes())
	case speaksEC2:
		var b bytes.Buffer
		inElement(&b, "Response", func() {
			inElement(&b, "Errors", func() {
				inElement(&b, "Error", func() {
					writeElement(&b, "Code", codeIn(ec2Codes, e.Code))
					writeElement(&b, "Message", e.Message)
				})
			})
			writeElement(&b, "RequestID", x.call.ID)
		})
		x.write(status, "text/xml", b.Bytes())
	case speaksCBOR:
		x.w.Header().Set("X-Amzn-Query-Error", codeIn(jsonCodes, e.Code)+";"+fault)
		x.write(status, "application/cbor", cbor.Encode(cborPlain(members(e))))
	case speaksJSON:
		x.w.Header().Set("X-Amzn-ErrorType", codeIn(jsonCodes, e.Code))
		x.write(status, x.jsonType(), jsonBytes(members(e)))
	default:
		WriteRESTError(x.w, e)
	}
}

// members are an error's in JSON and CBOR. Models spell the text in both ways.
func members(e *Error) map[string]any {
	out := map[string]any{"__type": codeIn(jsonCodes, e.Code), "message": e.Message, "Message": e.Message}
	maps.Copy(out, e.Fields)
	return out
}

func codeIn(names map[string]string, code string) string { return cmp.Or(names[code], code) }

// cborPlain encodes the values that Error.Fields may hold.
func cborPlain(value any) cbor.Value {
	switch v := value.(type) {
	case map[string]any:
		out := make(cbor.Map, len(v))
		for name, inner := range v {
			out[name] = cborPlain(inner)
		}
		return out
	case []any:
		out := make(cbor.List, len(v))
		for i, inner := range v {
			out[i] = cborPlain(inner)
		}
		return out
	case int:
		return cborOf(int64(v))
	default:
		return cborOf(v)
	}
}
