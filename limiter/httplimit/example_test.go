package httplimit_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/httplimit"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
)

func Example() {
	l, err := limiter.New(memstore.New(), limiter.Options{Clock: clock}) // stands still, for the output's sake
	if err != nil {
		panic(err)
	}
	if err := l.Admin().SetSystemDefaults(context.Background(), []limiter.Limit{limiter.PerMinute("rpm", 1)}, limiter.Block); err != nil {
		panic(err)
	}
	limit, err := httplimit.Middleware(l, httplimit.Options{
		Demand: func(r *http.Request) []limiter.Request {
			return []limiter.Request{{EntityID: r.Header.Get("User"), Resource: "api", Consume: limiter.Amounts{"rpm": 1}}}
		},
		Failed: func(status int) bool { return status >= 500 },
		Clock:  clock,
	})
	if err != nil {
		panic(err)
	}
	handler := limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))

	for range 2 {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("User", "user-1")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		response := w.Result()
		text, _ := io.ReadAll(response.Body)
		fmt.Println(response.StatusCode, response.Header.Get("RateLimit"), response.Header.Get("Retry-After"), len(text) > 0)
	}
	// Output:
	// 200 "rpm";r=0;t=60  true
	// 429 "rpm";r=0;t=61 61 true
}
