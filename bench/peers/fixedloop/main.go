// Command fixedloop is what an acquire costs a client, with a server that costs nothing: whole acquires
// of the limiter, through the lean client or the SDK's, against one that answers every request with the
// same bytes; and the same bytes written and read on bare connections, which no client can beat.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

func main() {
	serve := flag.String("serve", "", `serve the fixed reply, "http" or "https", until stdin ends; prints the endpoint`)
	endpoint := flag.String("endpoint", "", "server to drive")
	roots := flag.String("roots", "", "file with the certificate of an https endpoint, written by -serve")
	client := flag.String("client", "lean", "lean, sdk or raw")
	workers := flag.Int("workers", 10, "concurrent callers")
	duration := flag.Duration("duration", 10*time.Second, "how long to loop")
	profile := flag.String("cpuprofile", "", "write a profile of the loop to this file")
	flag.Parse()
	// As in our load generator.
	debug.SetGCPercent(400)
	var err error
	if *serve != "" {
		err = serveFixed(*serve == "https", *roots)
	} else {
		err = profiled(*profile, func() error { return drive(*client, *endpoint, *roots, *workers, *duration) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func profiled(file string, run func() error) error {
	if file == "" {
		return run()
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return run()
}

// now is the time of the bucket in the reply, so that it is never refilled.
const now = 1800000000000

// replyBody is a speculative write's answer: a bucket of one limit that never runs out.
const replyBody = `{"Attributes":{"PK":{"S":"ns/BUCKET#user-1#gpt-4#0"},"SK":{"S":"#STATE"},"entity_id":{"S":"user-1"},` +
	`"resource":{"S":"gpt-4"},"rf":{"N":"1800000000000"},"shard_count":{"N":"1"},"cascade":{"BOOL":false},"ttl":{"N":"9800000420"},` +
	`"b_rpm_tk":{"N":"99000"},"b_rpm_cp":{"N":"100000"},"b_rpm_ra":{"N":"100000"},"b_rpm_rp":{"N":"60000"},"b_rpm_tc":{"N":"1000"},` +
	`"b_wcu_tk":{"N":"999000"},"b_wcu_cp":{"N":"1000000"},"b_wcu_ra":{"N":"1000000"},"b_wcu_rp":{"N":"1000"},"b_wcu_tc":{"N":"1000"},` +
	`"GSI2PK":{"S":"ns/RESOURCE#gpt-4"},"GSI2SK":{"S":"BUCKET#user-1#0"},"GSI3PK":{"S":"ns/ENTITY#user-1"},` +
	`"GSI3SK":{"S":"BUCKET#gpt-4#0"},"GSI4PK":{"S":"ns"},"GSI4SK":{"S":"BUCKET#user-1#gpt-4#0"}}}`

func serveFixed(secure bool, rootsFile string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	scheme := "http"
	if secure {
		scheme = "https"
		certificate, err := newCertificate()
		if err != nil {
			return err
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
		if err := os.WriteFile(rootsFile, block, 0o600); err != nil {
			return err
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}})
	}
	reply := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: Server\r\nDate: Fri, 27 Nov 2026 10:00:00 GMT\r\nContent-Type: application/x-amz-json-1.0\r\n"+
		"Content-Length: %d\r\nConnection: keep-alive\r\nx-amzn-RequestId: 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGHIJ\r\nx-amz-crc32: %d\r\n\r\n%s",
		len(replyBody), crc32.ChecksumIEEE([]byte(replyBody)), replyBody)
	fmt.Printf("%s://%s\n", scheme, l.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		l.Close()
	}()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go answer(c, reply)
	}
}

func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// answer sends the reply for every request that arrives.
func answer(c net.Conn, reply []byte) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 16<<10)
	for {
		length := 0
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				break
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
		}
		if _, err := r.Discard(length); err != nil {
			return
		}
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

// drive makes calls from several goroutines and prints how many there were.
func drive(client, endpoint, rootsFile string, workers int, d time.Duration) error {
	call, err := newCall(client, endpoint, rootsFile)
	if err != nil {
		return err
	}
	var calls atomic.Int64
	var failure atomic.Pointer[error]
	var wg sync.WaitGroup
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	for range workers {
		wg.Go(func() {
			done, one := int64(0), call()
			for failure.Load() == nil && (done%64 != 0 || time.Since(start) < d) {
				if err := one(); err != nil {
					failure.Store(&err)
					return
				}
				done++
			}
			calls.Add(done)
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	if err := failure.Load(); err != nil {
		return *err
	}
	runtime.ReadMemStats(&after)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": calls.Load(), "seconds": elapsed.Seconds(),
		"allocations": float64(after.Mallocs-before.Mallocs) / float64(calls.Load()),
	})
}

// newCall returns what makes the call of one caller.
func newCall(client, endpoint, rootsFile string) (func() func() error, error) {
	roots := x509.NewCertPool()
	if strings.HasPrefix(endpoint, "https:") {
		block, err := os.ReadFile(rootsFile)
		if err != nil {
			return nil, err
		}
		roots.AppendCertsFromPEM(block)
	}
	secure := &tls.Config{RootCAs: roots}
	keys := credentials.NewStaticCredentialsProvider("local", "local", "")
	var api dynamostore.API
	var err error
	switch client {
	case "lean":
		api, err = dynamostore.NewLeanClient(dynamostore.LeanConfig{Region: "us-east-1", Endpoint: endpoint, Credentials: keys, TLS: secure})
	case "sdk":
		transport := dynamostore.NewTransport(0)
		transport.TLSClientConfig = secure
		api, err = dynamostore.NewClient(dynamostore.ClientConfig{Region: "us-east-1", Endpoint: endpoint, Credentials: keys, Transport: transport})
	case "raw":
		return rawCall(endpoint, secure), nil
	default:
		err = fmt.Errorf("-client is lean, sdk or raw, not %q", client)
	}
	if err != nil {
		return nil, err
	}
	l, err := limiter.New(dynamostore.OpenTable(api, "zae-limiter", dynamostore.TableOptions{}).Store("ns"),
		limiter.Options{Clock: func() time.Time { return time.UnixMilli(now) }})
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	request := limiter.Request{EntityID: "user-1", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}}
	return func() func() error {
		return func() error {
			lease, err := l.Acquire(ctx, request)
			if err != nil {
				return err
			}
			return lease.Close(ctx)
		}
	}, nil
}

// rawCall writes a request of the usual size and reads until the reply's last byte, and nothing else.
func rawCall(endpoint string, secure *tls.Config) func() func() error {
	scheme, address, _ := strings.Cut(endpoint, "://")
	request := fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 900\r\nX-Pad: %s\r\n\r\n%s",
		address, strings.Repeat("x", 380), strings.Repeat("y", 900))
	return func() func() error {
		var c net.Conn
		var err error
		if scheme == "https" {
			c, err = tls.Dial("tcp", address, secure)
		} else {
			c, err = net.Dial("tcp", address)
		}
		if err != nil {
			return func() error { return err }
		}
		buffer := make([]byte, 16<<10)
		return func() error {
			if _, err := c.Write(request); err != nil {
				return err
			}
			for n := 0; !bytes.HasSuffix(buffer[:n], []byte("}}}")); {
				more, err := c.Read(buffer[n:])
				if err != nil {
					return err
				}
				n += more
			}
			return nil
		}
	}
}
