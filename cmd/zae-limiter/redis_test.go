package main

import (
	"github.com/alicebob/miniredis/v2"
	"github.com/rogpeppe/go-internal/testscript"
)

// redis starts a server that speaks Redis' protocol, and puts its address into a variable.
//
//	redis VAR [PASSWORD]
func redis(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: redis VAR [PASSWORD]")
	}
	server := miniredis.NewMiniRedis()
	ts.Check(server.StartAddr("127.0.0.1:0"))
	ts.Defer(server.Close)
	if len(args) == 2 {
		server.RequireAuth(args[1])
	}
	ts.Setenv(args[0], server.Addr())
}
