/* The search lists the guide first, then the API and the gallery, then the
   measurements, then the contributing guide and the changes. */
var Scorer = {
  score: ([page, , , , score]) => {
    if (["changes", "contributing"].includes(page)) return score - 100;
    if (
      ["compare", "defaults", "label_noise", "lecture", "paper", "promises", "speed"]
        .includes(page)
    ) return score - 4;
    return /^(api|gallery)\//.test(page) ? score - 2 : score;
  },
  // The rest is Sphinx's own.
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
