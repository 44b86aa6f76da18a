//go:build interop

package webapi_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a person waits for something to show.
const patience = 30 * time.Second

// person is somebody in front of a browser. What the browser complains about, and what it asks of
// other machines, fails the test.
type person struct {
	t       *testing.T
	ctx     context.Context
	address string

	mu        sync.Mutex
	tolerated []string
	problems  []string
}

func browserPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no chromium: interop/run installs it")
	return ""
}

// openBrowser opens a page of the server in a browser of its own.
func openBrowser(t *testing.T, address, path string) *person {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(browserPath(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1600, 1200),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeBrowser := chromedp.NewContext(allocator)
	p := &person{t: t, ctx: ctx, address: address}
	t.Cleanup(func() {
		p.keepScreenshot("end")
		closeBrowser()
		stopAllocator()
		p.checkProblems()
	})
	// The first call starts the browser, which lives as long as its context.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	p.must(chromedp.Listen(ctx, p.listen))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	p.must(err)
	_, err = chromedp.Call(ctx, log.Enable, struct{}{})
	p.must(err)
	p.does(chromedp.Navigate("http://" + address + path))
	return p
}

func (p *person) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// listen notes what must not happen.
func (p *person) listen(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = "uncaught: " + e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			problem += " " + thrown.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			problem = fmt.Sprintf("console %s:", e.Type)
			for _, arg := range e.Args {
				problem += " " + string(arg.Value) + arg.Description
			}
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			problem = fmt.Sprintf("browser %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || u.Scheme != "data" && u.Scheme != "blob" && u.Host != p.address {
			problem = "request to elsewhere: " + e.Request.URL
		}
	}
	if problem != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.problems = append(p.problems, problem)
	}
}

// tolerates lets complaints with a text pass.
func (p *person) tolerates(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tolerated = append(p.tolerated, text)
}

func (p *person) checkProblems() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, problem := range p.problems {
		if !slices.ContainsFunc(p.tolerated, func(part string) bool { return strings.Contains(problem, part) }) {
			p.t.Error(problem)
		}
	}
}

// keepScreenshot leaves what can be seen where the environment wants it.
func (p *person) keepScreenshot(moment string) {
	dir := os.Getenv("ZAE_INTEROP_ARTIFACTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	image, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Errorf("screenshot: %v", err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, p.t.Name()+"-"+moment+".png"), image, 0o644); err != nil {
		p.t.Error(err)
	}
}

func (p *person) does(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%v; the page says:\n%s", err, p.text())
	}
}

// text is what can be read on the page.
func (p *person) text() string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// sees waits until the page shows texts, in letters of any case: buttons are in capitals.
func (p *person) sees(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.waits(fmt.Sprintf(`document.body?.innerText.replaceAll("\u2060", "").toLowerCase().includes(%q)`, strings.ToLower(text)), "to see "+text)
	}
}

// waits waits until an expression is true.
func (p *person) waits(expression, what string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	poll := chromedp.Poll[bool](expression, chromedp.WithPollingInterval(50*time.Millisecond))
	_, err := chromedp.Run(ctx, poll)
	for err != nil && ctx.Err() == nil {
		_, err = chromedp.Run(ctx, poll) // the page was left while it was looked at
	}
	if err != nil {
		p.t.Fatalf("waiting %s: %v; the page says:\n%s", what, err, p.text())
	}
}

func (p *person) clicks(xpath string) {
	p.t.Helper()
	p.does(chromedp.Click(chromedp.Search(xpath), chromedp.NodeVisible))
}

// presses clicks the last button of a text, which is the one of a dialog where there is one.
func (p *person) presses(text string) {
	p.t.Helper()
	p.clicks(fmt.Sprintf(`(//button[normalize-space()=%q])[last()]`, text))
}

func (p *person) opensTab(title string) {
	p.t.Helper()
	p.clicks(fmt.Sprintf(`//button[@role="tab"][normalize-space()=%q]`, title))
}

// fills replaces the text of the last field of a name.
func (p *person) fills(name, text string) {
	p.t.Helper()
	p.waits(fmt.Sprintf(`document.getElementsByName(%q).length > 0`, name), "for the field "+name)
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](fmt.Sprintf(`(() => {
		const field = [...document.getElementsByName(%q)].at(-1);
		Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, %q);
		return field.dispatchEvent(new Event("input", {bubbles: true}));
	})()`, name, text)))
	p.must(err)
}
