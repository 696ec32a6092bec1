/* The smallest job: says "ok" and declares that to be its result. What remains when nothing is computed is what the
 * market itself costs, so this is what the bench buys. */
#include <stdio.h>

int main(void) {
  puts("ok");
  FILE *computed = fopen("/iexec_out/computed.json", "w");
  if (!computed) return 1;
  fputs("{\"deterministic-output-path\": \"/iexec_out/stdout.txt\"}\n", computed);
  return fclose(computed) ? 1 : 0;
}
