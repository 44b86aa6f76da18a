package protocol

import (
	"cmp"
	"errors"
	"io"
	"net/http"

	"github.com/aws/smithy-go"
)

// DecodeREST fills an SDK input type from the JSON body of a REST request; what the path and the query
// hold is the service's own to read. An empty body leaves the input as it is.
func DecodeREST(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return malformed("the request's body: %v", err)
	}
	value, err := plainJSON(body)
	if err != nil {
		return err
	}
	return fill(into, value)
}

// WriteREST answers an SDK output type as REST's JSON. Members that the model puts into headers or
// makes the whole body are left to the service.
func WriteREST(w http.ResponseWriter, status int, output smithy.Serializable) {
	withLists(output)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(jsonBytes(jsonOf(treeOf(output), true))) // a client that left needs no answer
}

// WriteRESTError answers an error of a REST service; one that is no *Error becomes InternalFailure.
func WriteRESTError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Status: http.StatusInternalServerError, Code: "InternalFailure", Message: err.Error()}
	}
	status := cmp.Or(e.Status, http.StatusBadRequest)
	if e.Code == "AccessDenied" || e.Code == "InvalidClientTokenId" || e.Code == "ExpiredToken" {
		status = http.StatusForbidden
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-ErrorType", codeIn(jsonCodes, e.Code))
	w.WriteHeader(status)
	_, _ = w.Write(jsonBytes(members(e)))
}
