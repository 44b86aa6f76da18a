package lambda

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/lambda/schemas"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Service is how the front reaches the service.
func (s *Service) Service() protocol.Service {
	return protocol.Service{Name: "lambda", Wire: protocol.REST, Handle: s.handle, ActionOf: s.actionOf}
}

func (s *Service) routes() *http.ServeMux {
	mux := http.NewServeMux()
	add(mux, schemas.CreateFunction, operation(s.createFunction))
	add(mux, schemas.GetFunction, operation(s.getFunction))
	add(mux, schemas.GetFunctionConfiguration, operation(s.getFunctionConfiguration))
	add(mux, schemas.ListFunctions, operation(s.listFunctions))
	add(mux, schemas.UpdateFunctionCode, operation(s.updateFunctionCode))
	add(mux, schemas.UpdateFunctionConfiguration, operation(s.updateFunctionConfiguration))
	add(mux, schemas.DeleteFunction, operation(s.deleteFunction))
	add(mux, schemas.PublishVersion, operation(s.publishVersion))
	add(mux, schemas.ListVersionsByFunction, operation(s.listVersions))
	add(mux, schemas.CreateAlias, operation(s.createAlias))
	add(mux, schemas.UpdateAlias, operation(s.updateAlias))
	add(mux, schemas.GetAlias, operation(s.getAlias))
	add(mux, schemas.DeleteAlias, operation(s.deleteAlias))
	add(mux, schemas.PutFunctionConcurrency, operation(s.putConcurrency))
	add(mux, schemas.GetFunctionConcurrency, operation(s.getConcurrency))
	add(mux, schemas.DeleteFunctionConcurrency, operation(s.deleteConcurrency))
	add(mux, schemas.PutFunctionEventInvokeConfig, operation(s.putEventConfig))
	add(mux, schemas.GetFunctionEventInvokeConfig, operation(s.getEventConfig))
	add(mux, schemas.DeleteFunctionEventInvokeConfig, operation(s.deleteEventConfig))
	add(mux, schemas.GetAccountSettings, operation(s.getAccountSettings))
	add(mux, schemas.TagResource, operation(s.tagResource))
	add(mux, schemas.UntagResource, operation(s.untagResource))
	add(mux, schemas.ListTags, operation(s.listTags))
	add(mux, schemas.AddPermission, operation(s.addPermission))
	add(mux, schemas.RemovePermission, operation(s.removePermission))
	add(mux, schemas.CreateEventSourceMapping, operation(s.createMapping))
	add(mux, schemas.GetEventSourceMapping, operation(s.getMapping))
	add(mux, schemas.ListEventSourceMappings, operation(s.listMappings))
	add(mux, schemas.UpdateEventSourceMapping, operation(s.updateMapping))
	add(mux, schemas.DeleteEventSourceMapping, operation(s.deleteMapping))
	add(mux, schemas.Invoke, s.invoke)
	return mux
}

// action is one operation behind its route.
type action struct {
	name   string
	status int // of its answer
	serve  func(w http.ResponseWriter, r *http.Request, call *protocol.Call, status int)
}

// callKey is the key of a request's context under which the operation finds its call.
type callKey struct{}

// ServeHTTP makes an action a handler, so that the mux can find it.
func (a *action) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.serve(w, r, r.Context().Value(callKey{}).(*protocol.Call), a.status)
}

// add puts an operation where the SDK's model says that it is.
func add(mux *http.ServeMux, schema *smithy.Schema, serve func(http.ResponseWriter, *http.Request, *protocol.Call, int)) {
	route, ok := smithy.SchemaTrait[*traits.HTTP](schema)
	if !ok {
		panic("no route for " + schema.ID().Name)
	}
	mux.Handle(route.Method+" "+route.URI+"/{$}", &action{schema.ID().Name, route.Code, serve})
	mux.Handle(route.Method+" "+route.URI, &action{schema.ID().Name, route.Code, serve})
}

// actionOf names the operation of a request.
func (s *Service) actionOf(r *http.Request) string {
	handler, _ := s.mux.Handler(r)
	if a, ok := handler.(*action); ok {
		return a.name
	}
	return ""
}

// handle serves one request.
func (s *Service) handle(w http.ResponseWriter, r *http.Request, call *protocol.Call) {
	call.Action = s.actionOf(r)
	if call.Action == "" {
		protocol.WriteRESTError(w, protocol.Errorf("UnknownOperationException", "%s %s of lambda is not played here", r.Method, r.URL.Path))
		return
	}
	s.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, call)))
}

// answer is a pointer to an output type of the SDK.
type answer[T any] interface {
	*T
	smithy.Serializable
}

// operation serves a function over the SDK's types.
func operation[In, Out any, P answer[Out]](f func(ctx context.Context, call *protocol.Call, in *In) (P, error)) func(http.ResponseWriter, *http.Request, *protocol.Call, int) {
	return func(w http.ResponseWriter, r *http.Request, call *protocol.Call, status int) {
		in := new(In)
		err := protocol.DecodeREST(r, in)
		if err == nil {
			err = fromURL(r, in)
		}
		var out P
		if err == nil {
			out, err = f(r.Context(), call, in)
		}
		if err != nil {
			protocol.WriteRESTError(w, err)
			return
		}
		if status == http.StatusNoContent {
			w.WriteHeader(status)
			return
		}
		protocol.WriteREST(w, status, out)
	}
}

// fromURL fills in the members that the model puts into path and query.
func fromURL(r *http.Request, into any) error {
	members := map[string]any{}
	for _, name := range []string{"FunctionName", "Name", "Resource", "StatementId", "UUID"} {
		if value := r.PathValue(name); value != "" {
			members[name] = value
		}
	}
	query := r.URL.Query()
	if query.Has("Qualifier") {
		members["Qualifier"] = query.Get("Qualifier")
	}
	for _, name := range []string{"FunctionName", "EventSourceArn"} {
		if query.Has(name) {
			members[name] = query.Get(name)
		}
	}
	if query.Has("tagKeys") {
		members["TagKeys"] = query["tagKeys"]
	}
	data, err := json.Marshal(members)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
