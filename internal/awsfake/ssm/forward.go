package ssm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/xtaci/smux"
)

// dialWithin bounds one connection to a container's port.
const dialWithin = 10 * time.Second

// forwarder carries the streams of one session to a port.
type forwarder struct {
	*session
	// address is the port's; "" refuses every connection.
	address string
}

// dial connects to the port.
func (f *forwarder) dial(ctx context.Context) (net.Conn, error) {
	if f.address == "" {
		return nil, errors.New("host is outside of what is played here")
	}
	dialer := net.Dialer{Timeout: dialWithin}
	return dialer.DialContext(ctx, "tcp", f.address)
}

// Write sends to the client, in messages of the usual size.
func (f *forwarder) Write(b []byte) (int, error) {
	f.touch()
	for written := 0; written < len(b); written += streamUnit {
		if err := f.channel.send(payloadOutput, b[written:min(written+streamUnit, len(b))]); err != nil {
			return written, err
		}
	}
	return len(b), nil
}

func (f *forwarder) sendFlag(flag uint32) error {
	return f.channel.send(payloadFlag, binary.BigEndian.AppendUint32(nil, flag))
}

// terminate ends the session for its client, and with it whoever still wants to send.
func (f *forwarder) terminate() error {
	f.cancel(errTerminated)
	return errTerminated
}

// flagOf returns the flag of a message, 0 for other messages.
func flagOf(m message) uint32 {
	if m.payload != payloadFlag || len(m.content) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(m.content)
}

// mux carries any number of connections over the session's one stream, as agents do since 3.0.196.
// It returns when the client ends the session or the channel has ended.
func (f *forwarder) mux(ctx context.Context, keepAlive bool) error {
	incoming, fromClient := io.Pipe()
	config := smux.DefaultConfig()
	config.KeepAliveDisabled = !keepAlive
	server, err := smux.Server(&duplex{incoming, f}, config)
	if err != nil {
		return fmt.Errorf("multiplexer: %w", err)
	}
	var connections sync.WaitGroup
	defer connections.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	defer server.Close()
	connections.Go(func() {
		for {
			stream, err := server.AcceptStream()
			if err != nil {
				return
			}
			connections.Go(func() { f.connect(ctx, stream) })
		}
	})
	for {
		m, ok := f.channel.inbox.take()
		switch {
		case !ok:
			return errClosed
		case flagOf(m) == flagTerminateSession:
			return f.terminate()
		case m.payload == payloadOutput:
			f.touch()
			if _, err := fromClient.Write(m.content); err != nil {
				return fmt.Errorf("multiplexer: %w", err)
			}
		}
	}
}

// connect joins one stream of a client and a connection to the port. The end of either ends both.
func (f *forwarder) connect(ctx context.Context, stream io.ReadWriteCloser) {
	defer stream.Close()
	conn, err := f.dial(ctx)
	if err != nil {
		_ = f.sendFlag(flagConnectToPortError) // the channel is closed, if it fails
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var copies sync.WaitGroup
	copies.Go(func() {
		_, _ = io.Copy(conn, stream) // either end may go away: that is the end of the connection
		_ = conn.Close()
	})
	_, _ = io.Copy(stream, conn)
	_ = conn.Close()
	_ = stream.Close()
	copies.Wait()
}

// duplex joins what comes from the client and what goes to it into the connection that smux wants.
type duplex struct {
	*io.PipeReader
	to io.Writer
}

func (d *duplex) Write(b []byte) (int, error) { return d.to.Write(b) }

// single carries one connection after the other, for clients and agents that do not multiplex. Its
// first connection has to succeed.
func (f *forwarder) single(ctx context.Context) error {
	conn, err := f.dial(ctx)
	if err != nil {
		//lint:ignore ST1005 the agent's text
		return fmt.Errorf("Unable to connect to specified port: %w", err)
	}
	var reader sync.WaitGroup
	read := func(conn net.Conn) {
		reader.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			_, _ = io.Copy(f, conn)
			_ = conn.Close() // what the client sends next makes a new connection
		})
	}
	read(conn)
	defer reader.Wait()
	defer func() { _ = conn.Close() }()
	for {
		m, ok := f.channel.inbox.take()
		switch {
		case !ok:
			return errClosed
		case flagOf(m) == flagTerminateSession:
			return f.terminate()
		case flagOf(m) == flagDisconnectToPort:
			_ = conn.Close()
			reader.Wait()
		case m.payload == payloadOutput:
			f.touch()
			if _, err := conn.Write(m.content); err == nil {
				continue
			}
			_ = conn.Close()
			reader.Wait()
			if conn, err = f.dial(ctx); err != nil {
				//lint:ignore ST1005 the agent's text
				return fmt.Errorf("Unable to connect to specified port: %w", err)
			}
			read(conn)
			if _, err := conn.Write(m.content); err != nil {
				return fmt.Errorf("connection to the port: %w", err)
			}
		}
	}
}
