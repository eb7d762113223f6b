"""Renders chat templates with jinja2, set up as chat templates expect it, and records the texts.

Writes tests/golden/chat.json. Run it from anywhere; needs `jinja2`. The four families' templates are written anew,
to the behaviour of the published ones.
"""

import json
import pathlib
from datetime import datetime, timezone

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

LLAMA2 = """\
{% if messages[0]['role'] == 'system' %}
    {% set rest = messages[1:] %}{% set preamble = messages[0]['content'] %}
{% else %}
    {% set rest = messages %}{% set preamble = false %}
{% endif %}
{% for message in rest %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {% endif %}
    {% if loop.index0 == 0 and preamble != false %}
        {% set content = '<<SYS>>\\n' + preamble + '\\n<</SYS>>\\n\\n' + message['content'] %}
    {% else %}
        {% set content = message['content'] %}
    {% endif %}
    {% if message['role'] == 'user' %}
        {{- bos_token + '[INST] ' + content.strip() + ' [/INST]' -}}
    {% elif message['role'] == 'assistant' %}
        {{- ' ' + content.strip() + ' ' + eos_token -}}
    {% endif %}
{% endfor %}"""

LLAMA3 = """\
{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not tools_in_user_message is defined %}{%- set tools_in_user_message = true %}{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}

{#- The system message is taken out of the conversation. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\\n\\n"}}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
{%- endif %}
{{- system_message }}{{- "<|eot_id|>" }}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- for arg_name, arg_val in message.tool_calls[0].function.arguments | items %}
            {{- arg_name + '="' + arg_val + '"' }}{%- if not loop.last %}{{- ", " }}{%- endif %}
        {%- endfor %}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is not string and message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}{%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial system message") }}
    {%- endif %}
{%- endfor %}
"""

QWEN2 = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

QWEN3 = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

# One construct each, and the white space around tags.
SNIPPETS = r"""
a {%- if true %} b {% endif -%} c
{{ 1 + 2 * 3 - 4 // 3 }} {{ 7 % 4 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2.5 * 2 }} {{ 1 ~ 'a' ~ none ~ true }}
{{ 'a' 'b' + "c\n\t\\\'\"\u00e9\x41" }} {{ '\d' }}
{{ [1, 2, 3][-1] }} {{ 'héllo'[1] }} {{ 'héllo'[1:3] }} {{ 'héllo'[::-1] }} {{ [1,2,3,4,5][1:-1]|join('-') }} {{ [1,2,3,4][::2]|join }} {{ [1,2,3][5:]|length }} {{ [1,2,3][-2:]|join }} {{ [1,2,3,4][3:0:-2]|join }} {{ 'abc'[:-5:-1] }} {{ 'abc'[-9:9] }}
{{ 'x' if 1 > 2 else 'y' }}{{ 'z' if false }}{{ 'p' if 1 else 'q' if 0 else 'r' }}
{{ not 1 == 2 }} {{ 1 in [1, 2] }} {{ 'a' not in 'abc' }} {{ 'k' in {'k': 1} }} {{ x is defined }} {{ x is not defined and y is not defined }} {{ none is none }} {{ 1 is number }} {{ 'a' is string }} {{ {} is mapping }} {{ [] is iterable }} {{ 'a' is sequence }} {{ true is true }} {{ 1 is true }} {{ 0 is false }} {{ 2 is equalto 2 }} {{ 2 is in [1, 2] }} {{ 'a' is eq('b') }} {{ 'a' is ne 'b' }} {{ true is boolean }} {{ 1 is integer }} {{ 1.5 is float }}
{{ 1 < 2 and 2 <= 2 and 3 > 2 and 3 >= 3 and 1 != 2 }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ true == 1 }} {{ [1, 'a'] == [1, 'a'] }} {{ {'a': 1} == {'a': 2} }} {{ none == false }} {{ 0 or 'b' }} {{ '' and 'b' }} {{ [] or none }}
{{ '  pad  '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ 'AbC'|upper }}{{ 'AbC'|lower }}|{{ [1,2]|length }}{{ 'héé'|length }}|{{ x|default('d') }}{{ ''|default('e', true) }}{{ none|default('f') }}|{{ 'a-b'|replace('-', '+') }}|{{ '12'|int + 1 }}{{ 'q'|int }}{{ 'q'|int(5) }}{{ 3.9|int }}|{{ 5|string + 'a' }}|{{ 'abc'|list|join(',') }}|{{ [3,4]|first }}{{ [3,4]|last }}|{{ 'hello world'|title }}
{{ {'a': 1, 'b': [true, none, 'x"y\n é </s>'], 'c': {}, 'd': [], 'e': 1.5}|tojson }}{{ [{'a': [1, 2]}, {}]|tojson(indent=2) }}
{% for k, v in {'a': 1, 'b': 2}|items %}{{ k }}={{ v }};{% endfor %}{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{{ {'a': 1}.get('a') }}{{ {'a': 1}.get('b', 'none') }}{{ {'a': 1}.get('b') }}
{% for i in range(5) if i % 2 == 0 %}{{ loop.index }}/{{ loop.length }}:{{ i }}{{ '' if loop.last else ', ' }}{{ loop.first }}{{ loop.revindex }}{{ loop.previtem }}{{ loop.nextitem }} {% endfor %}{% for i in [] %}x{% else %}empty{% endfor %}{% for c in 'hé' %}[{{ c }}]{% endfor %}{% for i in range(3, 0, -1) %}{{ i }}{% endfor %}{% for x in y %}a{% endfor %}
{% set n = namespace(a=1, b='x') %}{% for i in range(3) %}{% set n.a = n.a + i %}{% set inner = i %}{% endfor %}{{ n.a }}{{ n.b }}{{ inner is defined }}{{ n.c is defined }}{% set n.c = 5 %}{{ n.c }}
{{ ' a b  c '.split()|join('|') }} {{ 'a,b,,c'.split(',')|join('|') }} {{ 'a,b,c'.split(',', 1)|join('|') }} {{ ' a b c '.split(none, 1)|join('|') }} {{ 'abc'.startswith('ab') }}{{ 'abc'.endswith('ab') }} {{ ' x '.strip() }}|{{ ' x '.lstrip() }}|{{ ' x '.rstrip() }}|{{ 'xyx'.strip('x') }} {{ 'ab'.upper() }}{{ 'AB'.lower() }}{{ 'a b-c'.title() }}{{ 'aXbX'.replace('X', '') }}
{{ messages|map(attribute='role')|join(',') }} {{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list|length }} {{ messages|rejectattr('role', 'eq', 'user')|list|length }} {{ [0, 1, '']|select|list|length }} {{ ['a', 'b']|reject('equalto', 'a')|first }} {{ messages|selectattr('nothing', 'defined')|list|length }} {{ messages|selectattr('role')|list|length }}
{{ x }}{{ none }}{{ true }}{{ 1.0 }}{{ messages[9] is defined }}{{ messages[0].nothing is defined }}{{ messages[0]['nothing'] is none }}
{{ -3|string + '' }} {{ not x }} {{ 'a' ~ 1 * 2 }} {{ (1 + 2) * 3 }}
"""

LAYOUT = [
    "one\n{% if true %}\n  two\n    {% endif %}\nthree\n", "  {% if true %}x{% endif %}  \n  y {% if true %}\n z{% endif %}\n\n",
    "a\n   {#- c -#}  \n b {# d #}\n e\n{# f #}\n\ng", "{{ 'a' }}\n{{ 'b' -}}  \n  c\n   {{ 'd' }}\n", "a\r\nb\rc {% if 1 %}\r\nd{% endif %}",
    "x {%+ if true %}\n y{% endif +%}\n z", "\n\n{%- if true -%}\n\n a \n{%- endif -%}\n\n", "{% for i in [1, 2] %}\n    {{ i }}\n{% endfor %}\nend\n\n",
    "  {%- set a = 1 %}\n  {% set b = 2 -%}\n  {{ a }}{{ b }}", "{{ {'a': {'b': 1}}['a']['b'] }}{{ {'x': {}}|length}}", "tail\n\n", "é{% if true %}ü{% endif %}\u3000{{- 'x' -}}\u2003 y",
]

CONVERSATIONS = {
    "turns": [("system", " Be brief. "), ("user", "Hi there"), ("assistant", " Hello! "), ("user", "Naïve \"quotes\" & <tags>\n中文 👍")],
    "plain": [("user", "  padded\u3000\n")],
    "thinking": [("user", "2+2?"), ("assistant", "<think>\nadd\n</think>\n\n4"), ("user", "and?"), ("assistant", "<think>\n\nmore\n</think>\n\n5")],
    "tools": [("user", "weather?"), ("assistant", "checking"), ("tool", "sunny"), ("tool", "warm"), ("assistant", "It is sunny.")],
    "broken": [("assistant", "I start"), ("user", "No.")],
}


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime(2024, 2, 29, 12, tzinfo=timezone.utc).strftime(form)
    return env


def case(template, conversation, generate):
    messages = [{"role": role, "content": content} for role, content in CONVERSATIONS[conversation]]
    record = {"conversation": conversation, "generate": generate}
    try:
        record["text"] = environment().from_string(template).render(
            messages=messages, add_generation_prompt=generate, tools=None, documents=None, bos_token="<s>", eos_token="</s>")
    except jinja2.exceptions.TemplateError as error:
        record["error"] = str(error)
    return record


def main():
    families = {"llama2": LLAMA2, "llama3": LLAMA3, "mistral": MISTRAL, "qwen2": QWEN2, "qwen3": QWEN3}
    templates = []
    for name, template in families.items():
        cases = [case(template, key, generate) for key in CONVERSATIONS for generate in (False, True)]
        templates.append({"name": name, "template": template, "cases": cases})
    for i, template in enumerate(SNIPPETS.strip("\n").split("\n") + LAYOUT):
        templates.append({"name": f"snippet {i}", "template": template, "cases": [case(template, "turns", False)]})
    out = {"conversations": CONVERSATIONS, "templates": templates}
    path = pathlib.Path(__file__).parent / "chat.json"
    path.write_text(json.dumps(out, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
