// Multiple choice: which continuation of a context does the model find likeliest?
#include <algorithm>

#include "base/fail.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "eval/chunks.h"
#include "eval/evaluate.h"
#include "eval/scorer.h"

namespace vernier {
namespace {

struct Question {
  std::string context;
  std::vector<std::string> choices;
  std::int64_t answer = 0;
};

// One choice of one question as tokens; positions [first_target, ids.size()) are the choice's.
struct Candidate {
  std::size_t question = 0, choice = 0;
  std::vector<TokenId> ids;
  std::int64_t first_target = 0;
};

Result<Question> parse_question(const std::string& line, const std::string& where) {
  VN_ASSIGN(const Json json, parse_json(line, where));
  const auto wanted = [&] {
    return fail(ErrorCode::invalid, "{}: wanted {{\"context\": text, \"choices\": [text, ...], \"answer\": index}}",
                where);
  };
  if (!json.is_object() || !json.contains("context") || !json.contains("choices") || !json.contains("answer"))
    return wanted();
  const Json &context = json["context"], &choices = json["choices"], &answer = json["answer"];
  if (!context.is_string() || !choices.is_array() || !answer.is_number_integer()) return wanted();
  Question question;
  question.context = context.get<std::string>();
  for (const Json& choice : choices) {
    if (!choice.is_string() || choice.get_ref<const std::string&>().empty()) return wanted();
    question.choices.push_back(choice.get<std::string>());
  }
  const auto count = static_cast<std::int64_t>(question.choices.size());
  if (count < 2) return fail(ErrorCode::invalid, "{}: a question needs at least two choices, found {}", where, count);
  // Beyond int64 the value compares as a large unsigned one; both ends are outside the range.
  if (answer < 0 || answer >= count)
    return fail(ErrorCode::invalid, "{}: answer {} is not an index of {} choices", where, answer.dump(), count);
  question.answer = answer.get<std::int64_t>();
  return question;
}

Result<std::vector<Question>> parse_questions(const std::string& jsonl, const std::string& where) {
  std::vector<Question> questions;
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < jsonl.size();) {
    const std::size_t end = std::min(jsonl.find('\n', begin), jsonl.size());
    const std::string line = jsonl.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    VN_ASSIGN(Question question, parse_question(line, fmt::format("{}:{}", where, number)));
    questions.push_back(std::move(question));
  }
  if (questions.empty()) return fail(ErrorCode::invalid, "{}: no questions", where);
  return questions;
}

// Context and choice are encoded together, as the model would see them; the choice's tokens are those after the prefix
// shared with the context alone. The oldest context is cut where the model has too few positions.
Result<Candidate> make_candidate(const Tokenizer& tokenizer, const Question& question, std::size_t choice,
                                 std::int64_t max_positions) {
  std::vector<TokenId> context = tokenizer.encode(question.context);
  std::vector<TokenId> whole = tokenizer.encode(question.context + question.choices[choice]);
  if (tokenizer.bos && (tokenizer.add_bos || context.empty())) {
    context.insert(context.begin(), *tokenizer.bos);
    whole.insert(whole.begin(), *tokenizer.bos);
  }
  const auto split = std::mismatch(context.begin(), context.end(), whole.begin(), whole.end()).second;
  Candidate candidate;
  candidate.choice = choice;
  candidate.first_target = split - whole.begin();
  const auto length = static_cast<std::int64_t>(whole.size());
  if (candidate.first_target == 0 || candidate.first_target == length) {
    return fail(ErrorCode::invalid, "choice \"{}\" has no tokens of its own after the context",
                question.choices[choice]);
  }
  if (max_positions > 0 && length > max_positions) {
    const std::int64_t cut = length - max_positions;
    if (cut >= candidate.first_target)
      return fail(ErrorCode::invalid, "a choice of {} tokens does not fit the model's {} positions",
                  length - candidate.first_target, max_positions);
    whole.erase(whole.begin(), whole.begin() + cut);
    candidate.first_target -= cut;
  }
  candidate.ids = std::move(whole);
  return candidate;
}

// Summed log-likelihood of each candidate's choice.
Status score_batch(Forward& forward, std::int64_t vocab, std::span<const Candidate> candidates,
                   std::vector<std::vector<double>>& scores) {
  Batch batch;
  std::vector<TokenId> ids;
  std::vector<ScoredRow> rows;
  std::vector<double*> owner;  // of each scored row
  for (const Candidate& candidate : candidates) {
    const auto base = static_cast<std::int64_t>(ids.size()), length = static_cast<std::int64_t>(candidate.ids.size());
    ids.insert(ids.end(), candidate.ids.begin(), candidate.ids.end());
    batch.lengths.push_back(length);
    batch.starts.push_back(0);
    for (std::int64_t t = candidate.first_target; t < length; ++t) {
      rows.push_back({base + t - 1, candidate.ids[t]});
      owner.push_back(&scores[candidate.question][candidate.choice]);
    }
  }
  batch.ids = ids;
  VN_ASSIGN(const Buffer hidden, forward.hidden(batch));
  std::size_t next = 0;
  return score_rows({&forward, &hidden}, {}, rows, vocab, [&](std::span<const ScoredToken> tile) {
    for (const ScoredToken& token : tile) *owner[next++] += token.log_probability(token.target);
  });
}

std::int64_t best(const std::vector<double>& scores) {
  return std::max_element(scores.begin(), scores.end()) - scores.begin();
}

}  // namespace

Result<TaskResult> evaluate_tasks(const ModelSource& model, const Tokenizer& tokenizer, const std::string& jsonl,
                                  const std::string& where, const EvalOptions& options) {
  VN_ASSIGN(const std::vector<Question> questions, parse_questions(jsonl, where));
  const std::int64_t vocab = model.graph().vocab;
  std::vector<Candidate> candidates;
  std::vector<std::vector<double>> scores;
  std::int64_t longest = 0;
  for (std::size_t q = 0; q < questions.size(); ++q) {
    scores.emplace_back(questions[q].choices.size(), 0.0);
    for (std::size_t c = 0; c < questions[q].choices.size(); ++c) {
      VN_ASSIGN(Candidate candidate, make_candidate(tokenizer, questions[q], c, model.graph().max_positions));
      candidate.question = q;
      if (*std::max_element(candidate.ids.begin(), candidate.ids.end()) >= vocab)
        return fail(ErrorCode::mismatch, "the tokenizer's ids exceed the vocabulary of {} in {}", vocab, model.path());
      longest = std::max(longest, static_cast<std::int64_t>(candidate.ids.size()));
      candidates.push_back(std::move(candidate));
    }
  }

  VN_ASSIGN(const Chunking chunking, plan_chunks({&model}, longest, options.memory_bytes));
  VN_ASSIGN(const auto forward, Forward::open(model, chunking.stream, options.executor));
  Progress progress("scoring choices", static_cast<double>(candidates.size()));
  for (std::size_t first = 0; first < candidates.size();) {
    VN_TRY(check_interrupt());
    std::size_t last = first;
    for (std::int64_t rows = 0; last < candidates.size(); ++last) {
      rows += static_cast<std::int64_t>(candidates[last].ids.size());
      if (rows > chunking.rows) break;
    }
    VN_TRY(score_batch(*forward, vocab, std::span(candidates).subspan(first, last - first), scores));
    progress.advance(static_cast<double>(last - first));
    first = last;
  }

  TaskResult result;
  result.questions = static_cast<std::int64_t>(questions.size());
  std::int64_t right = 0, right_normalized = 0;
  for (std::size_t q = 0; q < questions.size(); ++q) {
    right += best(scores[q]) == questions[q].answer;
    for (std::size_t c = 0; c < scores[q].size(); ++c)
      scores[q][c] /= static_cast<double>(questions[q].choices[c].size());
    right_normalized += best(scores[q]) == questions[q].answer;
  }
  result.accuracy = static_cast<double>(right) / static_cast<double>(result.questions);
  result.accuracy_normalized = static_cast<double>(right_normalized) / static_cast<double>(result.questions);
  return result;
}

}  // namespace vernier
