// The filters. A part of the leaderboard is a <tbody> (one task and family, or all of them); a level
// is a set of columns, which the style sheet shows by the table's data-level.
const board = document.getElementById("board");
const form = document.getElementById("filters");

function filter() {
  const { task = "", family = "", level = "all" } = Object.fromEntries(new FormData(form));
  board.dataset.level = level;
  let agents = 0;
  for (const body of board.tBodies) {
    body.hidden = body.dataset.task !== task || body.dataset.family !== family;
    if (!body.hidden) agents = body.rows.length;
  }
  form.querySelector("output").textContent =
    agents ? `${agents} ${agents === 1 ? "agent" : "agents"}` : "no complete run here";
}

form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.hidden = false;
filter();
