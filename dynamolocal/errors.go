package dynamolocal

import (
	"errors"
	"net/http"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/expression"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/throughput"
)

// apiError is an error of the service.
type apiError struct {
	code    string
	message string
	// strict errors are prefixed in the newer wording.
	strict bool
	// whole errors fail a transaction as a whole instead of cancelling it.
	whole bool
	item  *attr.Map // of a failed condition
	// reasons are those of a cancelled transaction.
	reasons []cancellation
	refusal *throughput.Refusal
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

// cancellation is the fate of one action of a cancelled transaction.
type cancellation struct {
	code    string
	message string
	item    *attr.Map
}

const (
	codeValidation     = "ValidationException"
	codeNotFound       = "ResourceNotFoundException"
	codeInUse          = "ResourceInUseException"
	codeCondition      = "ConditionalCheckFailedException"
	codeCanceled       = "TransactionCanceledException"
	codeConflict       = "TransactionConflictException"
	codeInProgress     = "TransactionInProgressException"
	codeMismatch       = "IdempotentParameterMismatchException"
	codeSerialization  = "SerializationException"
	codeUnknown        = "UnknownOperationException"
	codeAccessDenied   = "AccessDeniedException"
	codeThrottling     = "ThrottlingException"
	codeInternal       = "InternalServerError"
	codeLimit          = "LimitExceededException"
	codeExpired        = "ExpiredIteratorException"
	codeTrimmed        = "TrimmedDataAccessException"
	invalidParameters  = "One or more parameter values were invalid: "
	messageNotFound    = "Requested resource not found"
	messageCondition   = "The conditional request failed"
	messageConflict    = "Transaction is ongoing for the item"
	messageKeySchema   = "The provided key element does not match the schema"
	messageCanceled    = "Transaction cancelled, please refer cancellation reasons for specific reasons "
	validatorPrefix    = "1 validation error detected: "
	serviceNamespace   = "com.amazonaws.dynamodb.v20120810"
	coralService       = "com.amazon.coral.service"
	coralValidate      = "com.amazon.coral.validate"
	coralAvailability  = "com.amazon.coral.availability"
	contentTypeJSON    = "application/x-amz-json-1.0"
	maxItemBytes       = 409_600
	maxRequestBytes    = 16 << 20
	maxTransactBytes   = 4 << 20
	maxPageBytes       = 1 << 20
	maxBatchReads      = 100
	maxBatchWrites     = 25
	maxTransactActions = 100
)

func validation(message string) *apiError { return &apiError{code: codeValidation, message: message} }

func invalid(message string) *apiError { return validation(invalidParameters + message) }

func notFound() *apiError { return &apiError{code: codeNotFound, message: messageNotFound} }

// prefixOf is the namespace of an error code on the wire.
func prefixOf(code string) string {
	switch code {
	case codeValidation:
		return coralValidate
	case codeSerialization, codeUnknown, codeAccessDenied:
		return coralService
	case codeThrottling:
		return coralAvailability
	}
	return serviceNamespace
}

func statusOf(code string) int {
	if code == codeInternal {
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// asAPIError turns errors of the inner packages into errors of the service.
func asAPIError(err error) *apiError {
	var api *apiError
	if errors.As(err, &api) {
		return api
	}
	var value *attr.ValueError
	if errors.As(err, &value) {
		return &apiError{code: codeValidation, message: value.Message, strict: value.Strict}
	}
	var expr *expression.Error
	if errors.As(err, &expr) {
		return &apiError{code: codeValidation, message: expr.Error(), strict: expr.Strict}
	}
	return &apiError{code: codeInternal, message: err.Error()}
}

func throttled(r *throughput.Refusal) *apiError {
	return &apiError{code: r.Code, message: r.Message, refusal: r}
}

// worded gives an error of an operation the text of the configured wording.
func (e *Engine) worded(op string, err *apiError) *apiError {
	if e.config.Wording == Wording2026 && err.strict && (op == "PutItem" || op == "UpdateItem") {
		prefixed := *err
		prefixed.message = validatorPrefix + err.message
		return &prefixed
	}
	return err
}
