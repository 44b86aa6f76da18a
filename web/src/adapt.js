// Between the server's API, which is Locust's of today, and the UI of the npm package, which is older.
// It has to be imported before the package, which reads window.templateArgs as it loads.

const underscore = /_(?=[a-z0-9])/g;
const joiner = "\u2060";

// The package rewrites every key "a_b" to "aB", also where keys are names of tasks, classes or
// workers. An invisible character behind the underscore keeps it from that.
const guard = (name) => name.replace(underscore, "_" + joiner);
const unguard = (text) => text.replaceAll(joiner, "");
const guardKeys = (object) =>
  object && Object.fromEntries(Object.entries(object).map(([name, value]) => [guard(name), value]));

const guardTasks = (ratios) =>
  ratios &&
  Object.fromEntries(
    Object.entries(ratios).map(([name, { tasks, ...rest }]) => [
      guard(name),
      tasks ? { ...rest, tasks: guardTasks(tasks) } : rest,
    ]),
  );

// Milliseconds as in all other results: two decimals below 10, one below 100, otherwise whole.
const shownMS = (ms) => {
  const scale = ms < 10 ? 100 : ms < 100 ? 10 : 1;
  return Math.round(ms * scale) / scale;
};

// The package shows whole-run rates as the current ones, and percentiles in whole milliseconds.
const adaptStats = (answer) => ({
  ...answer,
  total_rps: answer.current_rps,
  total_fail_per_sec: answer.current_fail_per_sec,
  stats: answer.stats.map((row) => ({
    ...row,
    min_response_time: shownMS(row.min_ms),
    max_response_time: shownMS(row.max_ms),
    median_response_time: shownMS(row.p50_ms),
    "response_time_percentile_0.95": shownMS(row.p95_ms),
    "response_time_percentile_0.99": shownMS(row.p99_ms),
  })),
});

const adapters = {
  "stats/requests": adaptStats,
  tasks: ({ per_class, total }) => ({ per_class: guardTasks(per_class), total: guardTasks(total) }),
  logs: (answer) => ({ ...answer, workers: guardKeys(answer.workers) }),
};

const base = new URL("./", document.baseURI);

function routeOf(url) {
  const { origin, pathname } = new URL(url, base);
  return origin === base.origin && pathname.startsWith(base.pathname) ? pathname.slice(base.pathname.length) : null;
}

const originalFetch = window.fetch.bind(window);
let stops = 0;

/** Whether a stop that this page asked for is still on its way. */
export const isStopping = () => stops > 0;

window.fetch = async (input, init) => {
  let request = new Request(input, init);
  const route = routeOf(request.url);
  if (request.method === "POST" && (route === "swarm" || route === "user")) {
    const type = request.headers.get("content-type");
    const body = await request.text();
    request = new Request(request, {
      // Form values are percent-encoded.
      body: unguard(body).replaceAll(encodeURIComponent(joiner), ""),
      headers: type ? { "content-type": type } : {},
    });
  }
  if (route === "stop") {
    stops++;
    try {
      return await originalFetch(request);
    } finally {
      stops--;
    }
  }
  const response = await originalFetch(request);
  const adapt = adapters[route];
  if (!adapt || !response.ok) {
    return response;
  }
  return Response.json(adapt(await response.json()), { status: response.status });
};

const args = window.templateArgs ?? {};

/** The path that the server's routes are below, without a slash at the end. */
export const basePath = args.base_path ?? "";

window.templateArgs = {
  ...args,
  users: guardKeys(args.users),
  available_user_tasks: guardKeys(args.available_user_tasks),
  available_user_classes: args.available_user_classes?.map(guard),
};

// The package's logo leads to the root of the server, wherever the page stands, and its version is taken
// for Locust's.
document.addEventListener(
  "click",
  ({ target }) => {
    target.closest?.('a[href="/"]')?.setAttribute("href", basePath + "/");
    target
      .closest?.('a[href^="https://github.com/locustio/locust/releases/tag/"]')
      ?.setAttribute("href", "https://github.com/zeroae/zae-limiter-go/releases");
  },
  true,
);
