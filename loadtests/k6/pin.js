// Twenty tenants that ask the quickstart for both its services all the time, until k6 is stopped. What is done to the
// documents meanwhile, and what of it must be seen, is the business of `loadtests/drill quickstart-pin`, which reads the
// metric `answered` from k6's output (`--out json=FILE`): a point for each answer, its value the time at which the request
// was sent, in milliseconds since 1970.
//
// Can be set in the environment: what shop.js names, PACE (milliseconds between two requests of a tenant), LONGEST.
import exec from 'k6/execution';
import { Trend } from 'k6/metrics';

import { TENANTS, ask, cellOf, header, wait } from './shop.js';

const PACE = Number(__ENV.PACE || 50);
// The checkout has endpoints of its own in every cell, the catalog is behind the cell's ingress.
const PATHS = ['/api/checkout/k6', '/api/catalog/k6'];

const answered = new Trend('answered');

export const options = {
  // A virtual user a tenant, so that the answers of a tenant are in order.
  scenarios: { steady: { executor: 'constant-vus', vus: TENANTS.length, duration: __ENV.LONGEST || '10m' } },
  thresholds: { http_req_failed: ['rate==0'] },
  systemTags: [],
};

export default function () {
  const tenant = TENANTS[exec.vu.idInTest - 1];
  const sent = Date.now();
  const response = ask(tenant, PATHS[exec.vu.iterationInScenario % PATHS.length]);
  const cell = cellOf(response) || '';
  answered.add(sent, { tenant, cell, outcome: outcome(response, cell) });
  wait(PACE);
}

function outcome(response, cell) {
  if (response.status !== 200) return `${response.status} ${header(response, 'X-Gridrouter-Reject') || response.error}`;
  return cell ? 'ok' : '200 that does not say its cell';
}
