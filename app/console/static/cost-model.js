// What an answer costs: one encoder and a head a task, or a model a task. The same arithmetic as
// models/training/encoder/cost.py; a test holds the two together. All costs are of one text, in one
// unit.

/** `tasks` answers about a text from one encoder, a share `hits` of whose codes is found. */
export function shared(costs, tasks, hits) {
  return (1 - hits) * costs.encoder + costs.lookup + tasks * costs.head;
}

/** The same from a model a task; `hits`: the share of texts whose answers are all found somewhere. */
export function separate(costs, tasks, hits) {
  return (1 - hits) * tasks * costs.student;
}

/** The number of tasks from which on the shared encoder is cheaper; null where it never is. */
export function breakEven(costs, hits, answerHits) {
  const saved = (1 - answerHits) * costs.student - costs.head;
  const ahead = (1 - hits) * costs.encoder + costs.lookup;
  if (saved === 0) return ahead < 0 ? 1 : null;
  if (saved < 0) return null;
  return Math.max(1, Math.floor(ahead / saved) + 1);
}
