//go:build interop

package webapi_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"

	"github.com/zeroae/zae-limiter-go/internal/webapi"
	"github.com/zeroae/zae-limiter-go/internal/webui"
)

func newUIServer(t *testing.T, run *testRun, change func(*webapi.Config)) string {
	t.Helper()
	return serveTCP(t, newServer(t, run, func(c *webapi.Config) {
		c.UI = webui.Pages()
		if change != nil {
			change(c)
		}
	}))
}

func (r *testRun) lastWish() webapi.Swarm {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.wishes) == 0 {
		return webapi.Swarm{}
	}
	return r.wishes[len(r.wishes)-1]
}

func TestARunInTheBrowser(t *testing.T) {
	run := newTestRun().distributed(webapi.Worker{ID: "host_a1b2", State: webapi.StateRunning, Users: 10, CPUPercent: 12.5, MemoryBytes: 64 << 20})
	p := openBrowser(t, newUIServer(t, run, nil), "/")
	p.sees("Start new load test", "Advanced options", "Custom parameters")
	p.fills("userCount", "10")
	p.fills("spawnRate", "5")
	p.presses("Start")

	p.sees("ACQUIRE", "RATE_LIMITED", "Aggregated", "RUNNING")
	p.sees("12.4") // a percentile to a tenth of a millisecond
	p.opensTab("Charts")
	p.waits(`document.querySelectorAll("canvas").length >= 3`, "for three charts")
	p.keepScreenshot("charts")
	p.opensTab("Failures")
	p.sees("ThrottlingException('<b>slow down</b>')")
	p.opensTab("Exceptions")
	p.sees("boom", "max_rps.star:3")
	p.opensTab("Current Ratio")
	p.sees("75.0% get_a")
	p.opensTab("Logs")
	p.sees("Starting web interface", "Worker Logs", "host_a1b2")
	p.opensTab("Workers")
	p.sees("host_a1b2", "12.5", "64 MB")
	p.opensTab("Limiter")
	p.sees("Verdict:", "Resources", "Consumed units", "Coverage", "Load generator", "12")
	p.keepScreenshot("limiter")

	p.presses("Edit")
	p.sees("Edit running load test")
	p.fills("userCount", "20")
	p.presses("Update")
	p.opensTab("Statistics")
	p.waits(`[...document.querySelectorAll("header *")].some(e => e.textContent === "20")`, "for 20 users")
	if wish := run.lastWish(); wish.Users != 20 {
		t.Errorf("edited to %+v", wish)
	}

	// A reload in the middle of a run finds it again.
	p.does(chromedp.Reload())
	p.sees("ACQUIRE", "Aggregated", "RUNNING")

	started := run.Snapshot().Started
	p.presses("Reset")
	waitUntil(t, func() bool { return run.Snapshot().Started.After(started) })

	p.presses("Stop")
	p.sees("STOPPED", "New")
	p.presses("New")
	p.sees("Start new load test")
	p.fills("userCount", "7")
	p.presses("Start")
	p.sees("RUNNING")
	if wish := run.lastWish(); wish.Users != 7 {
		t.Errorf("started anew with %+v", wish)
	}
	p.presses("Stop")
	p.sees("STOPPED")
}

func waitUntil(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
		time.Sleep(10 * time.Millisecond) // the browser's work shows nowhere else
	}
}

func TestDownloadsInTheBrowser(t *testing.T) {
	run := newTestRun()
	address := newUIServer(t, run, nil)
	p := openBrowser(t, address, "/")
	p.fills("userCount", "10")
	p.fills("spawnRate", "10")
	p.presses("Start")
	p.sees("RATE_LIMITED", "Aggregated")
	p.presses("Stop")
	p.sees("STOPPED")
	p.opensTab("Download Data")
	p.sees("Download requests CSV", "Download failures CSV", "Download exceptions CSV", "Download Report", "Download result as JSON")

	folder := t.TempDir()
	_, err := chromedp.CallBrowser(p.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: folder,
	})
	p.must(err)
	for _, link := range []string{"Download requests CSV", "Download failures CSV", "Download exceptions CSV"} {
		p.clicks(fmt.Sprintf(`//a[normalize-space()=%q]`, link))
	}
	waitUntil(t, func() bool {
		names, err := filepath.Glob(folder + "/*.csv")
		return err == nil && len(names) == 3
	})
	// The report is one file: from the disk, with no server, it shows the same.
	p.does(chromedp.Navigate("http://" + address + "/stats/report?theme=dark"))
	p.sees("Load test", "RATE_LIMITED", "Download the report")
	p.clicks(`//a[normalize-space()="Download the report"]`)
	var report string
	waitUntil(t, func() bool {
		names, err := filepath.Glob(folder + "/*.html")
		if err != nil || len(names) == 0 {
			return false
		}
		report = names[0]
		return true
	})
	p.tolerates("request to elsewhere: file://" + folder)
	p.does(chromedp.Navigate("file://" + report))
	p.sees("Load test", "RATE_LIMITED", "ThrottlingException")
}

func TestASlowStopIsSeenToItsEnd(t *testing.T) {
	run := newTestRun()
	run.stopTakes = 6 * time.Second
	p := openBrowser(t, newUIServer(t, run, nil), "/")
	p.presses("Start")
	p.sees("RUNNING")
	p.presses("Stop")
	p.sees("STOPPING")
	p.sees("STOPPED", "New")
}

func TestARunStartedElsewhereIsSeen(t *testing.T) {
	run := newTestRun()
	p := openBrowser(t, newUIServer(t, run, nil), "/")
	p.sees("Start new load test")
	if err := run.Swarm(t.Context(), webapi.Swarm{Users: 5, SpawnRate: 5}); err != nil {
		t.Fatal(err)
	}
	p.sees("RUNNING", "ACQUIRE")
	if err := run.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.sees("STOPPED")
}

func TestStartWaitsForAWorker(t *testing.T) {
	run := newTestRun().distributed()
	p := openBrowser(t, newUIServer(t, run, nil), "/")
	p.sees("You can't start a distributed test before at least one worker")
	run.mu.Lock()
	run.status.Workers = []webapi.Worker{{ID: "host_1", State: webapi.StateReady}}
	run.mu.Unlock()
	p.waits(`[...document.querySelectorAll("button")].some(b => b.textContent === "Start" && !b.disabled)`, "for Start to be enabled")
}

func TestClassPickerUnderABasePath(t *testing.T) {
	run := newTestRun()
	run.plan.Shapes = []string{"Daily"}
	p := openBrowser(t, newUIServer(t, run, func(c *webapi.Config) { c.BasePath, c.ClassPicker = "/load", true }), "/load/")
	p.sees("User Classes", "SimpleUser", "Shape Class")
	// Every class is ticked; one is taken off.
	p.clicks(`//tr[td[normalize-space()="SimpleUser"]]/td[1]`)

	// Its weight is changed in the dialog.
	p.clicks(`(//table//button)[1]`)
	p.sees("Settings")
	p.fills("weight", "9")
	p.presses("Save")
	waitUntil(t, func() bool { return len(run.Plan().Classes) > 0 && run.Plan().Classes[0].Weight == 9 })

	p.fills("myArg2", "42")
	p.presses("Start")
	p.sees("RUNNING", "ACQUIRE")
	wish := run.lastWish()
	if !slices.Equal(wish.Classes, []string{"My_user"}) {
		t.Errorf("classes %q, want My_user", wish.Classes)
	}
	if wish.Options["my_arg2"] != int64(42) || wish.Options["region"] != "us-east-1" || wish.Options["verbose"] != false {
		t.Errorf("options %v", wish.Options)
	}
	p.clicks(`//header//a`)
	p.waits(`location.pathname === "/load/"`, "for the logo to lead home")
	p.presses("Stop")
	p.sees("STOPPED")
}

func TestARefusedStartSaysWhy(t *testing.T) {
	p := openBrowser(t, newUIServer(t, newTestRun(), nil), "/")
	p.fills("userCount", "200000")
	p.presses("Start")
	p.sees("200000 users are more than the workers can run")
}

func TestLoginInTheBrowser(t *testing.T) {
	p := openBrowser(t, newUIServer(t, newTestRun(), func(c *webapi.Config) { c.Token = "open sesame" }), "/")
	p.sees("Token")
	p.does(chromedp.SendKeys(chromedp.ID("token"), "open sesame\r"))
	p.sees("Start new load test")
	p.presses("Start")
	p.sees("RUNNING")
}

func TestAnyNumberOfRowsInTheBrowser(t *testing.T) {
	for rows, want := range map[int]int{0: 1, 1: 2, 700: 501} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			run := newTestRun()
			address := newUIServer(t, run, nil)
			if err := run.Swarm(t.Context(), webapi.Swarm{Users: 0, SpawnRate: 1}); err != nil {
				t.Fatal(err)
			}
			run.manyRows(rows)
			p := openBrowser(t, address, "/")
			p.waits(fmt.Sprintf(`document.querySelectorAll("table tbody tr").length === %d`, want), fmt.Sprintf("for %d rows", want))
			p.opensTab("Charts")
			p.waits(`document.querySelectorAll("canvas").length >= 3`, "for three charts")
			if err := run.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.sees("STOPPED")
		})
	}
}

// rateShown is the figure of the page's header.
const rateShown = `Number(document.querySelector("header").innerText.match(/RPS\s*([0-9.]+)/)?.[1] ?? NaN)`

func TestTheRateInTheBrowserFallsToNothing(t *testing.T) {
	run := newTestRun()
	p := openBrowser(t, newUIServer(t, run, nil), "/")
	p.fills("userCount", "10")
	p.fills("spawnRate", "10")
	p.presses("Start")
	p.waits(rateShown+" > 50", "for a rate")
	if err := run.Swarm(t.Context(), webapi.Swarm{Users: 0, SpawnRate: 10}); err != nil {
		t.Fatal(err)
	}
	p.waits(rateShown+" === 0", "for the rate to fall")
	p.sees("RUNNING")
	p.presses("Stop")
	p.sees("STOPPED")
}

func TestAReloadBringsTheChartsBack(t *testing.T) {
	run := newTestRun()
	p := openBrowser(t, newUIServer(t, run, nil), "/")
	p.fills("userCount", "10")
	p.presses("Start")
	p.sees("RUNNING", "ACQUIRE")
	// There is a sample every five seconds; the page has those from before it was loaded.
	waitUntil(t, func() bool {
		p.does(chromedp.Reload())
		ctx, cancel := context.WithTimeout(p.ctx, patience)
		defer cancel()
		n, err := chromedp.Run(ctx, chromedp.Evaluate[int](`window.templateArgs?.history?.length ?? 0`))
		return err == nil && n >= 2
	})
	p.waits(`window.templateArgs.history.at(-1).user_count[1] === 10`, "for the users of a sample")
	p.opensTab("Charts")
	p.waits(`document.querySelectorAll("canvas").length >= 3`, "for three charts")
	p.sees("RUNNING")
	p.presses("Stop")
	p.sees("STOPPED")
}
