package worker_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/internal/worker"
)

// answerLocustfile listens as a master that answers the question for a locustfile and nothing else.
func answerLocustfile(t *testing.T, reply wire.LocustfileReply) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var router *wire.Router
	router = wire.NewRouter(wire.RouterOptions{Handle: func(e wire.Event) {
		if e.Kind == wire.Received && e.Message.Type == wire.TypeLocustfile {
			_ = router.Send(e.Identity, &wire.Message{Type: wire.TypeLocustfile, Data: reply, NodeID: e.Identity})
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- router.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		<-served
		closing, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		router.Close(closing)
	})
	return listener.Addr().String()
}

func TestAWorkerTakesTheLocustfileOfItsMaster(t *testing.T) {
	want := []wire.LocustfileSource{{Filename: "a.star", Contents: "x = 1\n"}, {Filename: "common/b.star", Contents: "y = 2\n"}}
	address := answerLocustfile(t, wire.LocustfileReply{Files: want})
	got, err := worker.FetchLocustfile(t.Context(), worker.Config{Master: address})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestAMasterWithoutALocustfileSaysSo(t *testing.T) {
	address := answerLocustfile(t, wire.LocustfileReply{Error: "there is none"})
	if _, err := worker.FetchLocustfile(t.Context(), worker.Config{Master: address}); err == nil || err.Error() != "there is none" {
		t.Errorf("error %v", err)
	}
}

func TestTheLocustfileOfNoMasterIsNotWaitedForForever(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	var log bytes.Buffer
	_, err = worker.FetchLocustfile(t.Context(), worker.Config{
		Master: address, JoinTimeout: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if !strings.Contains(log.String(), "trying again") || !strings.Contains(log.String(), address) {
		t.Errorf("log %q, want it to say that the master cannot be reached", log.String())
	}
	if err == nil || !strings.Contains(err.Error(), "did not answer within 50ms") {
		t.Errorf("error %v", err)
	}
}
