// Ranks from the command line and from launchers' variables.
#include "dist/launch.h"

#include <map>

#include <gtest/gtest.h>

#include "base/error.h"

namespace rlcpp::dist {
namespace {

using Variables = std::map<std::string, std::string>;

Environment of(const Variables& variables) {
  return [variables](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

Launch launch(const Variables& variables, const LaunchRequest& request = {}) {
  return find_launch(request, of(variables));
}

std::string refusal(const Variables& variables, const LaunchRequest& request = {}) {
  try {
    launch(variables, request);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return error.render();
  }
  return "accepted";
}

const Variables kSlurm = {{"SLURM_JOB_ID", "812"},
                          {"SLURM_STEP_ID", "0"},
                          {"SLURM_STEP_NUM_TASKS", "4"},
                          {"SLURM_NTASKS", "9"},
                          {"SLURM_PROCID", "2"},
                          {"SLURM_LOCALID", "0"},
                          {"SLURM_STEP_NODELIST", "gpu[03-07,11]-ib"}};
const Variables kTorchrun = {{"RANK", "3"},
                             {"WORLD_SIZE", "4"},
                             {"LOCAL_RANK", "1"},
                             {"MASTER_PORT", "29500"},
                             {"MASTER_ADDR", "node-a"},
                             {"LOCAL_WORLD_SIZE", "2"}};
const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "1"},
                            {"OMPI_COMM_WORLD_SIZE", "2"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                            {"PMIX_NAMESPACE", "1234.1"}};

Variables both(Variables a, const Variables& b) {
  a.insert(b.begin(), b.end());
  return a;
}

TEST(Launch, OneProcessWithoutAnything) {
  const Launch found = launch({});
  EXPECT_EQ(found.ranks(), 1);
  EXPECT_EQ(found.first_rank(), 0);
  EXPECT_EQ(found.devices, std::vector<int>{0});
  EXPECT_EQ(found.address, "");
  EXPECT_EQ(found.source, "one process");
}

TEST(Launch, DevicesOfOneProcessAreRanks) {
  LaunchRequest request;
  request.devices = {0, 1, 3};
  EXPECT_EQ(launch({}, request).ranks(), 3);
  request.processes = 2;
  request.process = 1;
  request.address = "a:1234";
  const Launch found = launch({}, request);
  EXPECT_EQ(found.ranks(), 6);
  EXPECT_EQ(found.first_rank(), 3);
}

TEST(Launch, ReadsSlurm) {
  const Launch found = launch(kSlurm);
  EXPECT_EQ(found.processes, 4) << "the step's tasks, not the job's";
  EXPECT_EQ(found.process, 2);
  EXPECT_EQ(found.local_process, 0);
  EXPECT_EQ(found.devices, std::vector<int>{0});
  EXPECT_EQ(found.address.substr(0, 9), "gpu03-ib:");
  EXPECT_EQ(found.run_id, "812.0");
  EXPECT_EQ(found.source, "Slurm step 812.0 (SLURM_PROCID, SLURM_STEP_NUM_TASKS)");
}

TEST(Launch, ABatchScriptOfSlurmIsNoStep) {
  Variables batch = kSlurm;
  batch.erase("SLURM_STEP_ID");
  EXPECT_EQ(launch(batch).processes, 1);
  // Steps to Slurm, but none that srun started: a shell of salloc, a batch script.
  for (const char* id : {"4294967290", "4294967291"}) {
    batch["SLURM_STEP_ID"] = id;
    EXPECT_EQ(launch(batch).processes, 1) << id;
  }
}

TEST(Launch, ReadsTorchrun) {
  const Launch found = launch(kTorchrun);
  EXPECT_EQ(found.processes, 4);
  EXPECT_EQ(found.process, 3);
  EXPECT_EQ(found.devices, std::vector<int>{1});
  EXPECT_EQ(found.local_processes, 2);
  EXPECT_EQ(found.address, "node-a:29500");
  EXPECT_EQ(found.source, "torchrun (RANK, WORLD_SIZE)");
  // Its own store listens on MASTER_PORT.
  EXPECT_EQ(launch(both(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}})).address, "node-a:29501");
}

TEST(Launch, ReadsOpenMpiAndPmi) {
  const Launch found = launch(kOpenMpi);
  EXPECT_EQ(found.processes, 2);
  EXPECT_EQ(found.process, 1);
  EXPECT_EQ(found.run_id, "1234.1");
  EXPECT_TRUE(found.address.starts_with("file:/tmp/rlcpp-")) << found.address;
  EXPECT_TRUE(found.address.ends_with("/1234_1")) << found.address;
  const Launch pmi = launch({{"PMI_RANK", "1"},
                             {"PMI_SIZE", "2"},
                             {"MPI_LOCALRANKID", "1"},
                             {"MPI_LOCALNRANKS", "2"},
                             {"PMI_JOBID", "j"}});
  EXPECT_EQ(pmi.process, 1);
  EXPECT_TRUE(pmi.source.starts_with("PMI (PMI_RANK")) << pmi.source;
}

TEST(Launch, TheInnermostLauncherCounts) {
  for (const Variables& inner : {kOpenMpi, kTorchrun}) {
    const Launch found = launch(both(inner, kSlurm));
    EXPECT_EQ(found.process, launch(inner).process);
    EXPECT_NE(found.source.find("inside Slurm step 812.0"), std::string::npos) << found.source;
  }
}

TEST(Launch, ConflictsNameBoth) {
  const std::string two = refusal(both(kOpenMpi, kTorchrun));
  EXPECT_NE(two.find("Open MPI (OMPI_COMM_WORLD_RANK=1, OMPI_COMM_WORLD_SIZE=2)"), std::string::npos) << two;
  EXPECT_NE(two.find("torchrun (RANK=3, WORLD_SIZE=4)"), std::string::npos) << two;
  LaunchRequest request;
  request.processes = 4;
  request.process = 2;
  const std::string line = refusal(kTorchrun, request);
  EXPECT_NE(line.find("the command line (--dist.process=2, --dist.processes=4)"), std::string::npos) << line;
  EXPECT_NE(line.find("torchrun (RANK=3, WORLD_SIZE=4)"), std::string::npos) << line;
  request.process = 3;
  EXPECT_EQ(launch(kTorchrun, request).process, 3);
  const std::string pmi = refusal(both(kSlurm, {{"PMI_RANK", "1"}, {"PMI_SIZE", "4"}}));
  EXPECT_NE(pmi.find("PMI_RANK=1"), std::string::npos) << pmi;
  EXPECT_NE(pmi.find("SLURM_PROCID=2"), std::string::npos) << pmi;
  EXPECT_EQ(launch(both(kSlurm, {{"PMI_RANK", "2"}, {"PMI_SIZE", "4"}})).process, 2);
}

TEST(Launch, RefusesHalvesNonsenseAndAMissingAddress) {
  EXPECT_NE(refusal({{"RANK", "1"}}).find("RANK is set in the environment and WORLD_SIZE is not"),
            std::string::npos);
  EXPECT_NE(refusal({{"RANK", "x"}, {"WORLD_SIZE", "2"}}).find("RANK=x"), std::string::npos);
  EXPECT_NE(refusal({{"RANK", "2"}, {"WORLD_SIZE", "2"}}).find("there is no such process"),
            std::string::npos);
  EXPECT_NE(refusal({{"RANK", "0"}, {"WORLD_SIZE", "2"}}).find("--dist.address"), std::string::npos);
  LaunchRequest half;
  half.process = 0;
  EXPECT_NE(refusal({}, half).find("dist.process was given without dist.processes"), std::string::npos);
  half.processes = 0;
  EXPECT_NE(refusal({}, half).find("no such process"), std::string::npos);
}

TEST(Launch, RefusesAddressesThatAreNone) {
  LaunchRequest request;
  request.processes = 2;
  for (const int process : {0, 1}) {  // whoever it is, at once
    request.process = process;
    for (const char* wrong : {"nonsense", "host:", ":29400", "host:0", "host:65536", "host:99999999999",
                              "host:2x", "host: 29400", "a host:29400", "file", "http://host:29400"}) {
      request.address = wrong;
      EXPECT_NE(
          refusal({}, request).find(std::string("\"") + wrong + "\" where the ranks meet has not the form"),
          std::string::npos)
          << wrong;
    }
    for (const char* good : {"host:1", "10.0.0.1:65535", "[::1]:29400", "a.b-c:29400"}) {
      request.address = good;
      EXPECT_EQ(launch({}, request).address, good);
    }
    for (const char* nameless : {"file:", "file:/tmp/"}) {
      request.address = nameless;
      EXPECT_NE(refusal({}, request).find("names no file"), std::string::npos) << nameless;
    }
    request.address = "file:/tmp/no-such-folder-of-rlcpp/meeting";
    const std::string absent = refusal({}, request);
    EXPECT_NE(absent.find("the folder /tmp/no-such-folder-of-rlcpp"), std::string::npos) << absent;
    EXPECT_NE(absent.find("is not there"), std::string::npos) << absent;
  }
}

TEST(Launch, RefusesPortsOfTorchrunThatAreNone) {
  const auto with_port = [](const char* port, bool taken) {
    Variables variables = kTorchrun;
    variables["MASTER_PORT"] = port;
    if (taken) variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
    return variables;
  };
  EXPECT_EQ(launch(with_port("65535", false)).address, "node-a:65535");
  EXPECT_EQ(launch(with_port("65534", true)).address, "node-a:65535");
  const std::string last = refusal(with_port("65535", true));
  EXPECT_NE(last.find("MASTER_PORT=65535 in the environment leaves the ranks no port"), std::string::npos)
      << last;
  for (const char* wrong : {"0", "65536", "70000"}) {
    const std::string text = refusal(with_port(wrong, false));
    EXPECT_NE(text.find(std::string("MASTER_PORT=") + wrong + " in the environment is no port"),
              std::string::npos)
        << text;
  }
  // Nobody needs it where another place is named, or where nobody else is.
  LaunchRequest named;
  named.address = "node-b:1234";
  EXPECT_EQ(launch(with_port("70000", false), named).address, "node-b:1234");
  Variables alone = with_port("70000", false);
  alone["RANK"] = "0";
  alone["WORLD_SIZE"] = "1";
  EXPECT_EQ(launch(alone).processes, 1);
}

TEST(Launch, FirstHostOfANodeList) {
  EXPECT_EQ(first_host("a"), "a");
  EXPECT_EQ(first_host("a,b"), "a");
  EXPECT_EQ(first_host("node[03-07,9],x"), "node03");
  EXPECT_EQ(first_host("r[1,4]n[2-3]-ib,z"), "r1n2-ib");
  EXPECT_THROW(first_host("node[1"), Error);
}

}  // namespace
}  // namespace rlcpp::dist
