//go:build interop

// Command registry serves an empty image registry on a free loopback port, prints its endpoint and ends
// with its standard input. It stands in for the registry that moto does not have.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(listener, registry.New(registry.Logger(log.New(io.Discard, "", 0)))) }()
	fmt.Printf("http://%s\n", listener.Addr())
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		failed <- err
	}()
	return <-failed
}
