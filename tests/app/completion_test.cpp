// What other programs read of the configuration: completion scripts for shells, JSON Schema for editors.
#include <gtest/gtest.h>

#include "app/world.h"

namespace rlcpp::test {
namespace {

using nlohmann::json;

// What bash would offer after `words`, whose last is being typed.
std::string offered(const World& world, const std::string& script, const std::string& words, int last) {
  const std::string path =
      world.file("complete.sh", script + "\nCOMP_WORDS=(" + words + ")\nCOMP_CWORD=" + std::to_string(last) +
                                    "\n_rlcpp\necho \"${COMPREPLY[*]}\"\n");
  const std::string out = world / "offered";
  EXPECT_EQ(std::system(("bash " + path + " >" + out).c_str()), 0);
  return slurp(out);
}

TEST(Completion, BashOffersCommandsKeysAndChoices) {
  const World world;
  const ProcessOutcome script = world.run({"completion", "bash"});
  ASSERT_EQ(script.code, 0) << script.err;
  EXPECT_EQ(offered(world, script.out, "rlcpp re", 1), "report\n");
  EXPECT_EQ(offered(world, script.out, "rlcpp sft --optim.weight", 2), "--optim.weight-decay\n");
  EXPECT_EQ(offered(world, script.out, "rlcpp sft --scheduler.type co", 3), "constant cosine\n");
  EXPECT_EQ(offered(world, script.out, "rlcpp sft --orchestrator.batch", 2), "\n");
  EXPECT_EQ(offered(world, script.out, "rlcpp rl --orchestrator.batch", 2), "--orchestrator.batch-size\n");
}

TEST(Completion, OtherShellsGetEveryKeyToo) {
  const World world;
  const ProcessOutcome fish = world.run({"completion", "fish"});
  EXPECT_EQ(fish.code, 0);
  expect_has(fish.out, {"complete -c rlcpp -n '__fish_seen_subcommand_from sft' -l optim.lr\n",
                        "-l scheduler.type -x -a 'constant linear cosine'"});
  expect_has(world.run({"completion", "zsh"}).out, {"#compdef rlcpp", "--optim.lr"});
}

TEST(Completion, AnotherShellIsBadInput) {
  const World world;
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"completion"}, {"completion", "tcsh"}, {"completion", "bash", "zsh"}}) {
    const ProcessOutcome outcome = world.run(words);
    EXPECT_EQ(outcome.code, 2);
    expect_has(outcome.err, {"bash, zsh or fish"});
  }
}

TEST(Schema, HasTypesChoicesDefaultsAndNothingElse) {
  const World world;
  const ProcessOutcome outcome = world.run({"config", "schema", "rl"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json schema = json::parse(outcome.out);
  EXPECT_EQ(schema["additionalProperties"], false);
  const json& trainer = schema["properties"]["trainer"]["properties"];
  EXPECT_EQ(trainer["optim"]["properties"]["lr"]["type"], "number");
  EXPECT_EQ(trainer["optim"]["properties"]["lr"]["default"], 1e-6);
  EXPECT_EQ(trainer["optim"]["additionalProperties"], false);
  EXPECT_EQ(trainer["scheduler"]["properties"]["type"]["enum"], json({"constant", "linear", "cosine"}));
  // Optional values and sections also take "None"; a list of tables has the keys of its elements.
  EXPECT_EQ(schema["properties"]["max_steps"]["anyOf"][1]["const"], "None");
  EXPECT_EQ(trainer["model"]["properties"]["ac"]["anyOf"][0]["properties"]["mode"]["type"], "string");
  const json& env = schema["properties"]["orchestrator"]["properties"]["env"];
  EXPECT_EQ(env["type"], "array");
  EXPECT_EQ(env["items"]["properties"]["id"]["type"], "string");
  EXPECT_EQ(env["items"]["properties"]["args"]["type"], "object");
}

TEST(Schema, NeedsACommandWithKeys) {
  const World world;
  EXPECT_EQ(world.run({"config", "schema"}).code, 2);
  const ProcessOutcome outcome = world.run({"config", "schema", "nothing"});
  EXPECT_EQ(outcome.code, 2);
  expect_has(outcome.err, {"those are: sft"});
}

}  // namespace
}  // namespace rlcpp::test
