// Limits under steady load, each at its own path and with its own arrival rate, above what it admits.
//
// For each limit, the answers of a window of exactly so many seconds are counted by when they came, and all answers from
// first to last: `loadtests/drill limits`, which writes LIMITS, compares the former with what the limit allows and the
// latter with the router's own metrics. A lead before the window uses up bursts and warms up what has to be warm.
//
// TARGET and LIMITS come from the environment. LIMITS is a list in JSON: name, path, lead and seconds, and either `rate`
// (requests a second, however long answers take) or `clients` (that many, each with one request at a time).
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

const LIMITS = JSON.parse(__ENV.LIMITS);
const TARGET = __ENV.TARGET;
// Answers go on for a moment after the window, so that its end is like its middle.
const TAIL = 0.5;

const known = {};
const scenarios = {};
for (const limit of LIMITS) {
  const metric = (what) => `${what}_${limit.name.replace(/-/g, '_')}`;
  known[limit.name] = {
    ...limit,
    passed: new Counter(metric('passed')),
    allPassed: new Counter(metric('all_passed')),
    allRefused: new Counter(metric('all_refused')),
    wrong: new Counter(metric('wrong')),
    took: new Trend(metric('took')),
  };
  const duration = `${limit.lead + limit.seconds + TAIL}s`;
  scenarios[limit.name] = limit.clients
    ? { executor: 'constant-vus', exec: 'ask', vus: limit.clients, duration }
    : {
      executor: 'constant-arrival-rate', exec: 'ask', rate: limit.rate, timeUnit: '1s', duration,
      preAllocatedVUs: limit.vus, maxVUs: limit.vus * 2,
    };
}

export const options = {
  discardResponseBodies: true,
  scenarios,
  systemTags: [],
  summaryTrendStats: ['avg', 'max'],
};

export function ask() {
  const limit = known[exec.scenario.name];
  const response = http.get(TARGET + limit.path, { timeout: '20s' });
  const at = (Date.now() - exec.scenario.startTime) / 1000 - limit.lead;
  if (response.status === 200) {
    limit.allPassed.add(1);
    if (at >= 0 && at < limit.seconds) {
      limit.passed.add(1);
      limit.took.add(response.timings.duration);
    }
  } else if (response.status === 429 && /^[1-9][0-9]*$/.test(response.headers['Retry-After'] || '')) {
    limit.allRefused.add(1);
  } else {
    limit.wrong.add(1);
    console.error(`${limit.name}: ${response.status} ${response.error} ${JSON.stringify(response.headers)}`);
  }
}
