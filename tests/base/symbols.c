/* Built twice: `number` differs, and `ask` looks it up the way a library with clashing symbols
 * would. */
int number(void) { return NUMBER; }
int ask(void) { return number(); }
