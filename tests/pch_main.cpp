// Holds the precompiled header of the tests; does nothing.
int main() {
  return 0;
}
