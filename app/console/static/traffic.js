// The last minutes of /v1/stats, kept while the page is open.

const KEEP = 150; // five minutes at one look in two seconds
const STALE_S = 30; // a longer gap is a gap, not a rate

const looks = [];

export function add(stats) {
  const at = Date.now() / 1000;
  const before = looks.at(-1)?.stats;
  // Counters that fell are those of a process that was started again.
  if (before && stats.requests.total < before.requests.total) looks.length = 0;
  looks.push({ at, stats });
  if (looks.length > KEEP) looks.shift();
}

export const recent = () => looks;
export const latest = () => looks.at(-1).stats;

/** For each look: what `of` gives for it and the look before, null where there is none. */
function between(of) {
  return looks.map((one, place) => {
    const before = looks[place - 1];
    return before && one.at - before.at < STALE_S ? of(before, one) : null;
  });
}

/** How fast a counter grew, a second. */
export const rate = (read) => between((before, one) => (read(one.stats) - read(before.stats)) / (one.at - before.at));

/** The growth of one counter over that of another; null where the other stood still. */
export const ratio = (part, whole) =>
  between((before, one) => {
    const all = whole(one.stats) - whole(before.stats);
    return all > 0 ? (part(one.stats) - part(before.stats)) / all : null;
  });

/** A quantile of the requests' times between looks, in ms, by the histogram's bounds. */
export const quantile = (share) => between((before, one) => quantileOf(before.stats.requests, one.stats.requests, share));

export function quantileOf(before, now, share) {
  const counts = now.within.map((value, place) => value - before.within[place]);
  const total = now.total - before.total;
  if (total <= 0) return null;
  const wanted = share * total;
  const place = counts.findIndex((value) => value >= wanted);
  const bounds = now.seconds;
  if (place < 0) return bounds.at(-1) * 1000; // over the last bound: at least that
  const low = place ? bounds[place - 1] : 0;
  const below = place ? counts[place - 1] : 0;
  const within = counts[place] - below;
  return (low + ((wanted - below) / within) * (bounds[place] - low)) * 1000;
}
