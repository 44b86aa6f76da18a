// Our own tab: what the limiter did, and what the figures are worth. Source: GET result.
import { Alert, Box, Link, Typography } from "@mui/material";
import { Fragment, useEffect, useState } from "react";
import { Table } from "locust-ui";
import licences from "./licences.txt?url";

const interval = 2000;
const unknown = "–";

const number = (digits) => (value) =>
  value === null || value === undefined
    ? unknown
    : value.toLocaleString("en", { minimumFractionDigits: 0, maximumFractionDigits: digits });
const percent = (value) => (value === null || value === undefined ? unknown : `${(value * 100).toFixed(1)} %`);

function useResult() {
  const [result, setResult] = useState({});
  useEffect(() => {
    let timer;
    let open = true;
    const ask = async () => {
      try {
        const response = await fetch("result");
        const answer = await response.json();
        if (open) {
          setResult(response.ok ? { document: answer } : { message: answer.message });
        }
      } catch {
        // The server is away: what was shown stays, and it is asked again.
      }
      if (open) {
        timer = setTimeout(ask, interval);
      }
    };
    ask();
    return () => {
      open = false;
      clearTimeout(timer);
    };
  }, []);
  return result;
}

/** What the rows of the document say about each resource. */
export function resources(entries) {
  const found = new Map();
  for (const entry of entries) {
    if (entry.type !== "ACQUIRE" && entry.type !== "RATE_LIMITED") {
      continue;
    }
    const resource = found.get(entry.name) ?? { name: entry.name, admitted: 0, limited: 0, failed: 0, p50: null, p95: null, p99: null };
    if (entry.type === "ACQUIRE") {
      resource.admitted += entry.requests - entry.failures;
      resource.failed += entry.failures;
      Object.assign(resource, { p50: entry.p50_ms, p95: entry.p95_ms, p99: entry.p99_ms });
    } else {
      resource.limited += entry.requests;
    }
    found.set(entry.name, resource);
  }
  return [...found.values()].map((resource) => {
    const asked = resource.admitted + resource.limited + resource.failed;
    return { ...resource, limitedRatio: asked ? resource.limited / asked : null };
  });
}

const resourceColumns = [
  { key: "name", title: "Resource" },
  { key: "admitted", title: "Admitted", formatter: number(0) },
  { key: "limited", title: "Limited", formatter: number(0) },
  { key: "limitedRatio", title: "Limited %", formatter: percent },
  { key: "failed", title: "Failed", formatter: number(0) },
  { key: "p50", title: "p50 (ms)", formatter: number(2) },
  { key: "p95", title: "p95 (ms)", formatter: number(2) },
  { key: "p99", title: "p99 (ms)", formatter: number(2) },
];

const operationColumns = [
  { key: "operation", title: "Operation" },
  { key: "requests", title: "# Requests", formatter: number(0) },
  { key: "throttled", title: "Throttled", formatter: number(0) },
  { key: "failures", title: "Failures", formatter: number(0) },
  { key: "p50_ms", title: "p50 (ms)", formatter: number(2) },
  { key: "p95_ms", title: "p95 (ms)", formatter: number(2) },
  { key: "p99_ms", title: "p99 (ms)", formatter: number(2) },
];

function Section({ title, children }) {
  return (
    <Box component="section" sx={{ mb: 4 }}>
      <Typography component="h3" sx={{ mb: 1 }} variant="h6">
        {title}
      </Typography>
      {children}
    </Box>
  );
}

function Facts({ title, pairs }) {
  return (
    <Section title={title}>
      <Box component="dl" sx={{ display: "grid", gridTemplateColumns: "1fr max-content", columnGap: 4, rowGap: 1, m: 0 }}>
        {pairs.map(([name, value]) => (
          <Fragment key={name}>
            <Typography color="text.secondary" component="dt" variant="body2">
              {name}
            </Typography>
            <Typography component="dd" sx={{ m: 0, textAlign: "right", fontVariantNumeric: "tabular-nums" }} variant="body2">
              {value}
            </Typography>
          </Fragment>
        ))}
      </Box>
    </Section>
  );
}

const severities = { valid: "success", partial: "warning", invalid: "error" };

function Verdict({ verdict }) {
  return (
    <Alert severity={severities[verdict.state] ?? "info"} sx={{ mb: 4 }}>
      {`Verdict: ${verdict.state}`}
      {verdict.reasons?.length > 0 && ` — ${verdict.reasons.join("; ")}`}
    </Alert>
  );
}

function Document({ document: d }) {
  return (
    <>
      <Verdict verdict={d.verdict} />
      <Section title="Resources">
        <Table defaultSortKey="name" rows={resources(d.entries)} structure={resourceColumns} />
      </Section>
      <Box sx={{ display: "grid", columnGap: 8, gridTemplateColumns: "repeat(auto-fit, minmax(300px, 1fr))" }}>
        <Facts
          pairs={[
            ["Write units", number(1)(d.consumed.write_units)],
            ["Index write units", number(1)(d.consumed.index_write_units)],
            ["Read units", number(1)(d.consumed.read_units)],
            ["Throttled calls", number(0)(d.consumed.throttled)],
            ["SDK retries", number(0)(d.consumed.sdk_retries)],
            ["Round trips per acquire", number(3)(d.consumed.round_trips_per_acquire)],
          ]}
          title="Consumed units"
        />
        <Facts
          pairs={[
            ["Workers", number(0)(d.run.workers)],
            ["Planned user time that ran", percent(d.coverage.ratio)],
            ["Workers lost", number(0)(d.coverage.lost_workers)],
            ["Reports missing", number(0)(d.coverage.missing_reports)],
            ["Samples unaccounted for", number(0)(d.coverage.unaccounted_samples)],
            ["Seconds below 95 % of the plan", number(0)(d.coverage.gaps?.length)],
          ]}
          title="Coverage"
        />
        <Facts
          pairs={[
            ["Processor, of its cores", percent(d.generator.cpu_ratio)],
            ["Users woken late, p99 (ms)", number(2)(d.generator.late_p99_ms)],
            ["Longest garbage collection pause (ms)", number(2)(d.generator.gc_pause_max_ms)],
            ["Wait for a connection, p99 (ms)", number(2)(d.generator.pool_wait_p99_ms)],
          ]}
          title="Load generator"
        />
      </Box>
      {d.operations?.length > 0 && (
        <Section title="What the table was asked">
          <Table defaultSortKey="operation" rows={d.operations} structure={operationColumns} />
        </Section>
      )}
    </>
  );
}

export default function Limiter() {
  const { document, message } = useResult();
  return (
    <Box>
      {document && <Document document={document} />}
      {message && <Alert severity="info">{message}</Alert>}
      <Typography sx={{ mt: 4 }} variant="body2">
        The pages are built on Locust&apos;s web UI. <Link href={licences}>Licences</Link> · <Link href="./result">Result as JSON</Link> ·{" "}
        <Link href="./metrics">Metrics</Link>
      </Typography>
    </Box>
  );
}
